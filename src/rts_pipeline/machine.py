"""What the machine offers."""

import ctypes
import os
from pathlib import Path


def threads() -> int:
    """Return the number of cores that this process may use (affinity, and what Slurm gave the task)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, int(os.environ.get("SLURM_CPUS_PER_TASK", available))))


def gpus() -> int:
    """Return the number of GPUs that CUDA lets this process use, without torch."""
    number = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    works = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0
    return number.value if works else 0


def has_bf16() -> bool:
    """Tell whether the processor computes in bfloat16 (elsewhere it is emulated, and slow)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text(encoding="utf-8") for flag in ("avx512_bf16", "amx_bf16"))
