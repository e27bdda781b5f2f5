"""The processor: its model, its instruction sets, and what a file about it is called."""

import platform
import re
from pathlib import Path

# From the narrowest to the widest, with the flag of the kernel that tells it.
ISAS = [("avx2", "avx2"), ("avx512", "avx512f"), ("avx512-bf16", "avx512_bf16"), ("amx-bf16", "amx_bf16")]
ISAS += [("neon", "asimd"), ("sve", "sve")]


def read(cpuinfo=None):
    """(model, flags); without /proc what Python knows, and no flags."""
    path = Path("/proc/cpuinfo")
    text = cpuinfo if cpuinfo is not None else path.read_text() if path.exists() else ""
    fields = dict(re.findall(r"^([^\n:]*?)\s*: (.*)$", text, re.MULTILINE))
    model = fields.get("model name") or platform.processor() or platform.machine() or "unknown processor"
    return model, fields.get("flags", fields.get("Features", "")).split()


def widest(flags):
    """The widest instruction set.

    >>> widest(["sse2", "avx2", "avx512f"])
    'avx512'
    """
    return ([name for name, flag in ISAS if flag in flags] or [platform.machine().lower()])[-1]


def slug(model, flags):
    """
    >>> slug("Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", ["avx2", "avx512f", "amx_bf16"])
    'intel-xeon-platinum-8488c-amx-bf16'
    """
    plain = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\b\d+-Core\b|\bProcessor\b|@.*", " ", model)
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower())) + "-" + widest(flags)
