//! The passes over all blocks of images, from and to candle's tensors.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::memory::Memory;
use super::packed::Direction;
use super::plan::{self, Channel, Layer, Phase, Program, Sync};
use super::{Context, Engine, add};
use crate::kernels::lanes::{LANES, to_lines, to_rows};
use crate::meter;
use crate::ops::with_values;

impl Engine {
    /// `[n, c, h, w]` to `[n, classes]`, or to `[n, channels, h', w']` where the output is an image. In training, norms'
    /// running statistics move if they are to `follow`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor, follow: bool) -> Result<Tensor> {
        let y = self.forward_values(x, follow)?;
        Tensor::from_vec(y, self.output_shape(), x.device())
    }

    /// Of the last forward pass.
    pub(crate) fn output_shape(&self) -> Shape {
        let (images, channels, (height, width)) = (self.images, self.program.output.len(), self.program.size);
        match self.flat {
            true => (images, channels).into(),
            false => (images, channels, height, width).into(),
        }
    }

    /// The values of [`Engine::forward`], of [`Engine::output_shape`].
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward_values(&mut self, x: &Tensor, follow: bool) -> Result<Vec<f32>> {
        let images = x.dim(0)?;
        let input = self.program.input;
        let values = input.planes * input.pixels;
        if images == 0 || x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        self.prepare(images);
        self.pack(Direction::Forward)?;
        let Self { blocks, slots, .. } = self;
        with_values(x, |all| {
            blocks.par_iter_mut().zip(all.par_chunks(LANES * values)).for_each(|(block, rows)| {
                let Some(slot) = slots.of[0] else { return };
                let planes = block.slab.slots[slot].chunks_exact_mut(input.stride);
                for (plane, lines) in planes.take(input.planes).enumerate() {
                    to_lines(&rows[plane * input.pixels..], values, &mut lines[..input.pixels]);
                }
            });
            Ok(())
        })?;
        meter::record(self.program.macs * images as u64, self.program.activations * images as u64);
        for phase in 0..self.program.forward.len() {
            self.run(phase, true, follow)?;
        }
        let Program { output, size, .. } = &self.program;
        Ok(self.rows(output, size.0 * size.1, Memory::Value))
    }

    /// The values of these channels, `[n, channels, pixels]`.
    fn rows(&self, channels: &[Channel], pixels: usize, memory: fn(usize) -> Memory) -> Vec<f32> {
        let values = channels.len() * pixels;
        let mut all = vec![0f32; self.images * values];
        self.blocks.par_iter().zip(all.par_chunks_mut((LANES * values).max(1))).for_each(|(block, rows)| {
            let planes = block.slab.planes(&self.program, &self.slots, channels, memory);
            for (channel, lines) in planes.into_iter().enumerate() {
                to_rows(lines, values, &mut rows[channel * pixels..]);
            }
        });
        all
    }

    /// From the gradient of the last forward pass's output, those of all parameters. What the forward pass left is used up.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub(crate) fn backward(&mut self, gradient: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
        let Program { output, size, .. } = &self.program;
        let (pixels, channels) = (size.0 * size.1, output.len());
        let values = channels * pixels;
        if gradient.elem_count() != self.images * values {
            bail!("engine: a gradient {:?} of {} x {channels} x {pixels} outputs", gradient.dims(), self.images);
        }
        self.pack(Direction::Backward)?;
        let lens: Vec<usize> = self.program.parameters.iter().map(Tensor::elem_count).collect();
        let mut own = lens.clone();
        self.across().for_each(|conv| own[conv.weight] = 0);
        self.chains.iter_mut().for_each(|chain| chain.clear(&own));
        let mut gradients: Vec<Vec<f32>> = lens.iter().map(|_| Vec::new()).collect();
        self.across().for_each(|conv| gradients[conv.weight] = vec![0.0; lens[conv.weight]]);
        self.gradients = gradients;
        let Self { blocks, program, slots, .. } = self;
        with_values(gradient, |all| {
            blocks.par_iter_mut().zip(all.par_chunks((LANES * values).max(1))).for_each(|(block, rows)| {
                block.slab.write(program, slots, &program.output, Memory::Gradient, |_, planes| {
                    for (channel, plane) in planes.into_iter().enumerate() {
                        plane.into_iter().for_each(|lines| to_lines(&rows[channel * pixels..], values, lines));
                    }
                });
            });
            Ok(())
        })?;
        for phase in 0..self.program.backward.len() {
            self.run(phase, false, false)?;
        }
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.par_iter_mut().enumerate().for_each(|(index, total)| {
            for chain in &self.chains {
                let partial = &chain.gradients[index];
                match total.is_empty() {
                    true => total.clone_from(partial),
                    // None, where it was made of all blocks at once.
                    false => add(total, partial),
                }
            }
        });
        for (layer, norm) in self.program.layers.iter().zip(&self.norms) {
            if let (Layer::Finish(plan::Finish { norm: Some(indices), .. }), Some((weight, bias))) =
                (layer, norm.gradients.as_ref())
            {
                add(&mut gradients[indices.weight], weight);
                add(&mut gradients[indices.bias], bias);
            }
        }
        let tensors = self.program.parameters.iter().zip(gradients);
        tensors.map(|(of, values)| Ok((of.clone(), Tensor::from_vec(values, of.shape(), of.device())?))).collect()
    }

    /// The gradient of the images of the last backward pass, `[n, c, h, w]`; of use in [`Mode::Train`] with `images`.
    pub(crate) fn image_gradient(&self) -> Vec<f32> {
        let wanted = |(plane, &wanted): (usize, &bool)| match wanted {
            true => Channel::Plane { buffer: 0, plane },
            false => Channel::Zero,
        };
        let channels: Vec<Channel> = self.program.image_gradients.iter().enumerate().map(wanted).collect();
        self.rows(&channels, self.program.input.pixels, Memory::Gradient)
    }

    /// One phase: every block for itself, then what is summed over blocks.
    fn run(&mut self, phase: usize, forward: bool, follow: bool) -> Result<()> {
        let Self { program, slots, path, weights, norms, parameters, chains, gradients, blocks, .. } = self;
        let phases = if forward { &program.forward } else { &program.backward };
        let Phase { steps, sync } = &phases[phase];
        let context = Context { program, slots, path: *path, weights, norms };
        let length = blocks.len().div_ceil(chains.len().max(1));
        blocks.par_chunks_mut(length).zip(chains.par_iter_mut()).for_each(|(blocks, chain)| {
            for block in blocks {
                for step in steps {
                    context.step(*step, block, chain);
                }
            }
        });
        match *sync {
            Sync::Moments(index) => {
                norms[index].finish_moments(&program.layers[index], index, blocks, parameters, follow)?
            }
            Sync::Sums(index) => norms[index].finish_sums(&program.layers[index], index, blocks),
            Sync::Weights(index) => {
                if let Layer::Conv(conv) = &program.layers[index] {
                    let mut bias = conv.bias.map(|bias| std::mem::take(&mut chains[0].gradients[bias]));
                    context.weight_gradient_across(conv, blocks, &mut gradients[conv.weight], bias.as_mut());
                    if let (Some(index), Some(bias)) = (conv.bias, bias) {
                        chains[0].gradients[index] = bias;
                    }
                }
            }
            Sync::Nothing => {}
        }
        Ok(())
    }
}
