//! Backbones by name.

use anyhow::{Context, ensure};

use super::info::BackboneInfo;
use super::{Backbone, Width, airbench, mobilenet, resnet_cifar, resnet_imagenet, vgg};
use crate::config::BackboneConfig;
use crate::config::error::nearest;
use crate::data::Geometry;

/// Every backbone, family by family.
pub fn all() -> impl Iterator<Item = &'static BackboneInfo> {
    [vgg::BACKBONES, resnet_cifar::BACKBONES, resnet_imagenet::BACKBONES, mobilenet::BACKBONES, airbench::BACKBONES]
        .into_iter()
        .flatten()
}

/// The backbone of this name.
pub fn find(name: &str) -> Option<&'static BackboneInfo> {
    all().find(|info| info.name == name)
}

/// The architecture an experiment asks for, for images of this geometry.
///
/// `width` scales every channel count but the images' and the classes' (hidden features of a head too): rounded to the
/// nearest multiple of `backbone.divisor`, and at least one.
///
/// # Errors
/// An unknown name, a head the backbone has not, images it cannot take, a width that is not positive.
pub fn by_name(config: &BackboneConfig, geometry: &Geometry, width: f64) -> anyhow::Result<Box<dyn Backbone>> {
    let name = config.name.as_str();
    ensure!(width.is_finite() && width > 0.0, "width = {width}: must be a positive number");
    let (c, h, w) = geometry.shape;
    ensure!(
        ![c, h, w, geometry.classes].contains(&0),
        "backbone {name}: images of {c} x {h} x {w} in {} classes: every number must be at least 1",
        geometry.classes
    );
    let info = find(name).with_context(|| {
        let known: Vec<&str> = all().map(|info| info.name).collect();
        let hint = nearest(name, &known).map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default();
        format!("backbone.name = \"{name}\": no such backbone.{hint} Known: {}", known.join(", "))
    })?;
    if !info.heads.contains(&config.head) {
        let having: Vec<&str> = all().filter(|info| info.heads.contains(&config.head)).map(|info| info.name).collect();
        let (head, usual) = (config.head.name(), info.heads[0].name());
        anyhow::bail!(
            "backbone.head = \"{head}\": {name} has no such head; only {} has. Leave `head` out or write \"{usual}\"",
            having.join(", ")
        );
    }
    let width = Width { factor: width, divisor: config.divisor.unwrap_or(1) };
    (info.make)(config, geometry, width).with_context(|| format!("backbone {name}, images of {c} x {h} x {w}"))
}
