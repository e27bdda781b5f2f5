"""Small files in the forms in which data sets are published, for the tests of `harness/src/data`. Run in this folder: python3 make.py

Needs numpy, Pillow, pyarrow and scipy (made with 2.4.6, 13.0.0, 26.0.1 and 1.17.1).
"""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat


def image(number, height, width):
    """Channel c of pixel (y, x) is number * 20 + y * 3 + x * 2 + c * 60."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    return ((number * 20 + y * 3 + x * 2 + c * 60) % 256).astype(np.uint8)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(out, "png")
    return out.getvalue()


# As the Hugging Face hub writes them, with columns that are nobody's business here. Sizes differ.
rows = 5
labels = [1, 0, 1, 0, 1]
table = pa.table(
    {
        "id": pa.array(range(rows), pa.uint8()),
        "score": pa.array(np.arange(rows, dtype=np.float16)),
        "price": pa.array([None] * rows, pa.decimal128(12, 3)),
        "boxes": pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32())),
        "caption": pa.array(["a"] * rows),
        "taken": pa.array([0] * rows, pa.timestamp("us", tz="UTC")),
        "image": pa.array(
            [{"bytes": png(image(n, 8 + n, 12)), "path": f"{n}.png"} for n in range(rows)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "label": pa.array(labels, pa.uint16()),
    }
)
names = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["night", "day"], "_type": "ClassLabel"}}}}
table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
pq.write_table(table, "hub.parquet", row_group_size=2)

# As SVHN: the images are the last dimension, in MATLAB's order, and the digit 0 has the label 10.
digits = np.array([[1], [10], [9], [2]], np.uint8)
pixels = np.stack([image(n, 32, 32) for n in range(4)], axis=-1)
savemat("svhn.mat", {"X": pixels, "y": digits}, do_compression=True)
savemat("svhn-plain.mat", {"X": pixels, "y": digits.astype(np.float64)})
