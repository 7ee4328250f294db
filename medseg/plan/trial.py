"""One real training step of a planned config in a process of its own, and what it took."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import MedsegError

STEPS = 2  # the first makes the optimizer's state, the second is timed
STATUS = Path("/proc/self/status")
CODE = "import sys; from medseg.plan.trial import step; step(sys.argv[1], sys.argv[2])"
CONTEXT = 0.6e9  # of a GPU's memory, outside PyTorch's count


@dataclass(frozen=True)
class Trial:
    """What a step took.

    Attributes:
        bytes: The most memory that was resident in the process, or taken of the GPU's; infinite
            if the process was killed.
        seconds: Of a step after the first.
    """

    bytes: float
    seconds: float


def try_step(config: Path) -> Trial:
    """Train for two steps on random numbers in a process of its own.

    Raises:
        MedsegError: If that fails for another reason than a lack of memory.
    """
    answer = config.with_name("trial.json")
    command = [sys.executable, "-c", CODE, str(config), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Trial(**json.loads(answer.read_text()))
    said = done.stderr.strip().splitlines() or [""]
    lacking = ("MemoryError", "OutOfMemoryError", "DefaultCPUAllocator")
    if done.returncode < 0 or any(word in done.stderr for word in lacking):
        return Trial(float("inf"), float("nan"))
    raise MedsegError(f"the planned config does not train: {said[-1]}")


def step(config_path: str, answer: str) -> None:
    """Build what a config names, train for two steps, and write down memory and seconds."""
    import torch
    from monai.utils import set_determinism

    from medseg.config import build_network, load_config
    from medseg.inference.predictor import pick_device
    from medseg.training.ema import averaged
    from medseg.training.precision import Forward, pick_precision

    config = load_config(config_path)
    build = config.get_parsed_content
    set_determinism(build("seed"))
    settings, geometry = build("settings"), build("geometry")
    device = pick_device(settings.device)
    network = build_network(config)[0].to(device).train()
    optimizer, loss = build("optimizer"), build("loss")
    average = averaged(network, settings.ema_decay)
    forward = Forward(pick_precision(settings.precision, device))
    shape = (build("train_loader::batch_size"), *geometry.input_shape)
    image = torch.rand(shape, device=device)
    label = torch.randint(len(build("labels")) + 1, (shape[0], *shape[2:]), device=device)
    start = 0.0
    for _ in range(STEPS):
        start = time.monotonic()
        optimizer.zero_grad(set_to_none=True)
        loss(forward(image, network), label).backward()
        optimizer.step()
    average.update_parameters(network)
    taken = float(torch.cuda.max_memory_reserved()) + CONTEXT if device.type == "cuda" else peak()
    found = {"bytes": taken, "seconds": time.monotonic() - start}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def peak() -> float:
    """The most memory that was ever resident in this process, in bytes."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(most if sys.platform == "darwin" else 1024 * most)
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
