"""What the machine offers."""

import ctypes
import os
import sys
from pathlib import Path


def threads() -> int:
    """Return the number of cores that this process may use (affinity, and what Slurm gave the task)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, int(os.environ.get("SLURM_CPUS_PER_TASK", available))))


def with_programs() -> dict[str, str]:
    """Return the environment with the programs beside this Python first on the PATH, also where it wasn't activated."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


def gpus() -> int:
    """Return the number of GPUs that CUDA lets this process use, without torch."""
    number = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    works = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0
    return number.value if works else 0


def gpu_uuids() -> tuple[str, ...]:
    """Return what tells the GPUs that CUDA lets this process use from all others, in CUDA's order, without torch.

    Their numbers don't: jobs of a cluster on one node may each see another GPU as number 0.
    """
    return tuple(_gpu_uuid(number) for number in range(gpus()))


def _gpu_uuid(number: int) -> str:
    device, uuid = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
    driver = ctypes.CDLL("libcuda.so.1")
    # the second version tells the parts of a GPU apart, too; drivers before 11.4 lack it
    ask = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    if driver.cuDeviceGet(ctypes.byref(device), number) != 0 or ask(ctypes.byref(uuid), device) != 0:
        return f"number-{number}"
    return bytes(uuid).hex()


def has_bf16() -> bool:
    """Tell whether the processor computes in bfloat16 (elsewhere it is emulated, and slow)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text(encoding="utf-8") for flag in ("avx512_bf16", "amx_bf16"))
