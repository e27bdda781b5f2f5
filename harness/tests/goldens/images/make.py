"""Images as Pillow resizes and converts them, for the tests of `harness/src/data`. Run in this folder: python3 make.py

Needs numpy and Pillow (made with 13.0.0).
"""

import numpy as np
from PIL import Image

rng = np.random.default_rng(0)
height, width = 45, 60
y, x = np.mgrid[0:height, 0:width]
smooth = np.stack([y * 5, x * 4, (x + y) * 2], axis=-1) % 256
noise = rng.integers(0, 256, (height, width, 3))
pixels = np.where(((x // 8 + y // 8) % 2 == 0)[..., None], smooth, noise).astype(np.uint8)
photo = Image.fromarray(pixels, "RGB")
photo.save("photo.png")

# (width, height): smaller, larger, one of each, and only a little smaller.
for size in [(16, 12), (90, 70), (20, 80), (57, 43)]:
    photo.resize(size, Image.Resampling.BILINEAR).save(f"photo-{size[1]}x{size[0]}.png")
photo.convert("L").save("photo-grey.png")

# Colour modes, each with what `convert("RGB")` makes of it.
alpha = np.dstack([pixels, (x * 4 % 256).astype(np.uint8)])
modes = {
    "palette.png": photo.quantize(16),
    "palette.gif": photo.quantize(32),
    "palette.tiff": photo.quantize(16),
    "alpha.png": Image.fromarray(alpha, "RGBA"),
    "grey-alpha.png": Image.fromarray(alpha[..., [0, 3]], "LA"),
    "rgb.bmp": photo,
    "rgb.tiff": photo,
    "lossless.webp": photo,
    "cmyk.jpg": Image.fromarray(smooth.astype(np.uint8), "RGB").convert("CMYK"),
}
for name, image in modes.items():
    image.save(name, **({"lossless": True} if name.endswith("webp") else {}))
    Image.open(name).convert("RGB").save(f"{name}.rgb.png")
