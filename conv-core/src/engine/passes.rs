//! The forward and the backward pass of the batch engine: over all blocks of images, from and to candle's tensors.

use std::time::Instant;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::batch::BatchEngine;
use super::block::BlockLayout;
use super::context::Context;
use super::format::Format;
use super::layers::{Channel, Conv};
use super::memory::Content;
use super::packed::Direction;
use super::program::{Phase, Program, Reduction};
use crate::kernels::batch16::{LANES, to_lines, to_rows};
use crate::meter;
use crate::ops::with_values;

impl<F: Format> BatchEngine<F> {
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
        if self.flat { (images, channels).into() } else { (images, channels, height, width).into() }
    }

    /// The values of [`BatchEngine::forward`], of [`BatchEngine::output_shape`].
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward_values(&mut self, x: &Tensor, follow: bool) -> Result<Vec<f32>> {
        let images = x.dim(0)?;
        let input = self.program.input();
        let values = input.planes * input.pixels;
        if images == 0 || x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        self.prepare(images);
        self.pack(Direction::Forward)?;
        let all = self.program.all(0);
        self.fill(x, &all, input.pixels, Content::Value)?;
        meter::record(self.program.macs * images as u64, self.program.activations * images as u64);
        for phase in 0..self.program.forward.len() {
            self.phase(phase, Direction::Forward, follow)?;
        }
        let Program { output, size, .. } = &self.program;
        Ok(self.rows(output, size.0 * size.1, Content::Value))
    }

    /// Writes `rows: [n, channels, pixels]` into the planes of these channels.
    fn fill(
        &mut self,
        rows: &Tensor,
        channels: &[Channel],
        pixels: usize,
        content: fn(usize) -> Content,
    ) -> Result<()> {
        let values = channels.len() * pixels;
        let Self { blocks, program, slots, .. } = self;
        let layout = BlockLayout { buffers: &program.buffers, slots };
        with_values(rows, |all| {
            blocks.par_iter_mut().zip(all.par_chunks((LANES * values).max(1))).for_each(|(block, rows)| {
                block.slab.write(layout, channels, content, |_, planes| {
                    for (channel, plane) in planes.into_iter().enumerate() {
                        let rows = &rows[channel * pixels..];
                        F::writing(vec![plane], |planes| {
                            planes.into_iter().flatten().for_each(|lines| to_lines(rows, values, lines));
                        });
                    }
                });
            });
            Ok(())
        })
    }

    /// The values of these channels, `[n, channels, pixels]`.
    fn rows(&self, channels: &[Channel], pixels: usize, content: fn(usize) -> Content) -> Vec<f32> {
        let values = channels.len() * pixels;
        let mut all = vec![0f32; self.images * values];
        let layout = BlockLayout { buffers: &self.program.buffers, slots: &self.slots };
        self.blocks.par_iter().zip(all.par_chunks_mut((LANES * values).max(1))).for_each(|(block, rows)| {
            let mut memory = Vec::new();
            for (channel, plane) in block.slab.planes(layout, channels, content).into_iter().enumerate() {
                // A channel of zeros may be longer.
                for lines in F::widened(vec![&plane[..pixels]], &mut memory) {
                    to_rows(lines, values, &mut rows[channel * pixels..]);
                }
            }
        });
        all
    }

    /// From the gradient of the last forward pass's output, those of all parameters. What the forward pass left is used up.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub(crate) fn backward(&mut self, gradient: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
        let (size, output) = (self.program.size, self.program.output.clone());
        let (pixels, channels) = (size.0 * size.1, output.len());
        if gradient.elem_count() != self.images * channels * pixels {
            bail!("engine: a gradient {:?} of {} x {channels} x {pixels} outputs", gradient.dims(), self.images);
        }
        self.pack(Direction::Backward)?;
        let lens: Vec<usize> = self.program.parameters.iter().map(Tensor::elem_count).collect();
        let (of_chains, mut of_all) = (self.chain_lens(), vec![Vec::new(); lens.len()]);
        for &Conv { weight, .. } in self.convs_of_all_blocks() {
            of_all[weight] = vec![0.0; lens[weight]];
        }
        self.chains.iter_mut().for_each(|chain| chain.clear(&of_chains));
        self.gradients = of_all;
        self.fill(gradient, &output, pixels, Content::Gradient)?;
        for phase in 0..self.program.backward.phases.len() {
            self.phase(phase, Direction::Backward, false)?;
        }
        let gradients = self.total_gradients()?;
        let tensors = self.program.parameters.iter().zip(gradients);
        tensors.map(|(of, values)| Ok((of.clone(), Tensor::from_vec(values, of.shape(), of.device())?))).collect()
    }

    /// By parameter: the gradients of all chains in their order, those made of all blocks at once, and those of norms.
    fn total_gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.par_iter_mut().enumerate().for_each(|(index, total)| {
            for chain in &self.chains {
                let partial = &chain.gradients[index];
                if total.is_empty() {
                    total.clone_from(partial);
                } else {
                    // A chain has none, where the gradient was made of all blocks at once.
                    add(total, partial);
                }
            }
        });
        for finish in &self.layers.finishes {
            let Some(norm) = &finish.plan.norm else { continue };
            let Some((weight, bias)) = &finish.gradients else { bail!("engine: a norm was passed over") };
            add(&mut gradients[norm.weight], weight);
            add(&mut gradients[norm.bias], bias);
        }
        Ok(gradients)
    }

    /// The gradient of the images of the last backward pass, `[n, c, h, w]`; of use in [`Mode::Train`] with `images`.
    pub(crate) fn image_gradient(&self) -> Vec<f32> {
        let wanted = |(plane, &wanted): (usize, &bool)| {
            if wanted { Channel::Plane { buffer: 0, plane } } else { Channel::Zero }
        };
        let channels: Vec<Channel> = self.program.backward.image_gradients.iter().enumerate().map(wanted).collect();
        self.rows(&channels, self.program.input().pixels, Content::Gradient)
    }

    /// One phase: every block for itself, then what is made of all blocks.
    fn phase(&mut self, phase: usize, direction: Direction, follow: bool) -> Result<()> {
        let Self { layers, program, slots, format, parameters, blocks, chains, gradients, times, .. } = self;
        let phases = match direction {
            Direction::Forward => &program.forward,
            Direction::Backward => &program.backward.phases,
        };
        let Phase { steps, reduction } = &phases[phase];
        let layout = BlockLayout { buffers: &program.buffers, slots };
        let context = Context { layers, program, parameters, layout, format: *format };
        let (length, timed) = (blocks.len().div_ceil(chains.len().max(1)), times.is_some());
        blocks.par_chunks_mut(length).zip(chains.par_iter_mut()).try_for_each(|(blocks, chain)| {
            chain.times.clear();
            for block in blocks {
                for (at, step) in steps.iter().enumerate() {
                    let started = timed.then(Instant::now);
                    context.execute(*step, block, chain)?;
                    if let Some(started) = started {
                        chain.times.resize(steps.len(), Default::default());
                        chain.times[at] += started.elapsed();
                    }
                }
            }
            Ok::<_, candle_core::Error>(())
        })?;
        let started = Instant::now();
        match *reduction {
            Reduction::Moments(id) => layers[id].reduce_moments(id, blocks, parameters, follow)?,
            Reduction::Sums(id) => layers[id].reduce_sums(id, blocks)?,
            Reduction::Weights(id) => {
                let conv = layers[id].as_ref();
                let bias = conv.bias.map(|bias| chains[0].gradients[bias].as_mut_slice());
                context.weight_gradient_of_all(conv, blocks, &mut gradients[conv.weight], bias);
            }
            Reduction::Nothing => {}
        }
        if let Some(times) = times {
            times.add_phase(&phases[phase], chains.iter().map(|chain| &*chain.times), started.elapsed());
        }
        Ok(())
    }
}

fn add(total: &mut [f32], values: &[f32]) {
    total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
}
