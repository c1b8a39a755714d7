"""GPUs of the machine: how many there are, and what they are called.

Engines number the GPUs of a node from 0. Users see a GPU's own name: its entry in
CUDA_VISIBLE_DEVICES where the program has that, else its number. Nothing is imported to find out.
"""

from __future__ import annotations

import os

__all__ = ["VISIBLE", "gpu_names", "gpu_resources", "shown_ids"]

#: The variable that CUDA follows.
VISIBLE = "CUDA_VISIBLE_DEVICES"


def _visible() -> list[str] | None:
    """The GPUs that the environment allows; None: it says nothing."""
    text = os.environ.get(VISIBLE)
    if text is None:
        return None
    names = []
    for entry in text.split(","):
        name = entry.strip()
        if not name or name == "-1" or name == "NoDevFiles":
            break  # CUDA sees nothing behind such an entry
        names.append(name)
    return names


def _devices() -> int:
    try:
        entries = os.listdir("/dev")
    except OSError:
        return 0
    return sum(name.startswith("nvidia") and name[6:].isdigit() for name in entries)


def gpu_names(num_gpus: int | None) -> list[str]:
    """Return the names of the node's GPUs.

    Parameters
    ----------
    num_gpus
        Number of GPUs as given to ``haz.init``; None: as found.

    Raises
    ------
    ValueError
        For more GPUs than CUDA_VISIBLE_DEVICES allows.
    """
    visible = _visible()
    if num_gpus is None:
        return [str(n) for n in range(_devices())] if visible is None else visible
    if visible is None:
        return [str(n) for n in range(num_gpus)]
    if num_gpus > len(visible):
        raise ValueError(
            f"num_gpus={num_gpus} is more than {VISIBLE}={os.environ.get(VISIBLE)!r} allows: unset "
            f"it, or give at most {len(visible)}"
        )
    return visible[:num_gpus]


def gpu_resources(names: list[str], given: dict[str, float]) -> dict[str, float]:
    """Return the resources that the node has by its GPUs: ``GPU``, and ``accelerator_type:...`` for
    each kind that the driver's files tell of, unless `given` names some."""
    if not names:
        return {}
    found = {"GPU": float(len(names))}
    if not any(name.startswith("accelerator_type:") for name in given):
        found.update(dict.fromkeys(_kinds(), 1.0))
    return found


_MODELS = "/proc/driver/nvidia/gpus"


def _kinds(folder: str = _MODELS) -> list[str]:
    """The GPUs' kinds as Ray names them: ``accelerator_type:A100`` of an NVIDIA A100-SXM4-40GB."""
    found = []
    try:
        for entry in os.listdir(folder):
            with open(f"{folder}/{entry}/information") as file:
                model = next((line for line in file if line.startswith("Model:")), "")
            kind = _kind_of(model.partition(":")[2])
            if kind:
                found.append(f"accelerator_type:{kind}")
    except OSError:
        pass  # another driver, or none
    return found


def _kind_of(model: str) -> str:
    """The first word of a model's name that begins with a letter and has a digit."""
    for word in model.replace("-", " ").split():
        if word.isalnum() and word[0].isalpha() and any(char.isdigit() for char in word):
            return word
    return ""


def shown_ids(names: list[str]) -> list[int | str]:
    """Return what ``haz.get_gpu_ids`` returns: numbers, but for GPUs that have another name."""
    return [int(name) if name.isdecimal() else name for name in names]
