import csv
import json

import pytest
import torch
from torch import nn

from medseg.errors import ResourceError, StoppedError, UsageError
from medseg.model import read_model
from medseg.training import handlers
from medseg.training.schedules import Constant, Poly
from tests.training.small import CONVOLUTION, UNET, build, fit, loader_of, same, six_cases, weights


def rows(run, name="history.csv"):
    with (run / name).open() as file:
        return list(csv.DictReader(file))


class Failing(nn.Module):
    """Cross-entropy, until something happens in one iteration."""

    def __init__(self, iteration, happens):
        super().__init__()
        self.iteration, self.happens, self.calls = iteration, happens, 0

    def forward(self, logits, label):
        loss = nn.functional.cross_entropy(logits, label)
        if logits.requires_grad:
            self.calls += 1
            if self.calls == self.iteration:
                return self.happens(loss)
        return loss


def raise_(error):
    def happens(_):
        raise error

    return happens


def test_it_learns_and_leaves_a_whole_run_folder(tmp_path):
    run = fit(tmp_path, max_epochs=15, rate=0.3, clip_norm=10.0, ema_decay=0.5)
    epochs = rows(run)
    assert [row["epoch"] for row in epochs] == [str(epoch) for epoch in range(1, 16)]
    assert float(epochs[-1]["train_loss"]) < 0.3 * float(epochs[0]["train_loss"])
    assert float(epochs[-1]["val_dsc"]) > 0.8
    assert len(rows(run, "iterations.csv")) == 15 * 4
    pictures = {path.name for path in (run / "figures").iterdir()}
    assert pictures == {"loss_per_iteration.png", "loss_train_val.png", "dsc_per_organ.png"}
    assert list((run / "tensorboard").iterdir())
    assert not list(run.rglob(".tmp-*"))


def test_the_model_folder_holds_the_best_averaged_weights(tmp_path):
    run = fit(tmp_path, max_epochs=6, rate=0.3, ema_decay=0.9)
    epochs = rows(run)
    best = max(epochs, key=lambda row: float(row["val_dsc"]))
    model = read_model(run / "model")
    assert model.provenance["epoch"] == int(best["epoch"])
    assert model.provenance["val_dsc"] == pytest.approx(float(best["val_dsc"]), rel=1e-5)
    checkpoint = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    average = {
        key.removeprefix("module."): value
        for key, value in checkpoint["average"].items()
        if key.startswith("module.")
    }
    assert checkpoint["iteration"] == int(best["iteration"])
    assert same(model.network.state_dict(), average)
    assert not same(average, checkpoint["network"])


def test_provenance_says_where_the_weights_come_from(tmp_path):
    provenance = json.loads((fit(tmp_path) / "model" / "model.json").read_text())["provenance"]
    assert provenance["seed"] == 3
    assert provenance["train_cases"] == ["case0", "case1", "case2", "case3"]
    assert provenance["val_cases"] == ["case4", "case5"]
    assert provenance["settings"]["max_epochs"] == 2
    assert provenance["versions"]["torch"] == str(torch.__version__)


def test_two_steps_of_sgd_equal_a_loop_written_out(tmp_path):
    run = fit(tmp_path, max_iterations=2, schedule=Poly(power=1.0), optimizer=torch.optim.SGD)
    network = build(CONVOLUTION)
    batches = list(loader_of(six_cases(tmp_path / "data")))
    for number, batch in enumerate(batches[:2]):
        rate = 0.05 * (1 - number / 2)
        loss = nn.functional.cross_entropy(network(batch["image"]), batch["label"])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        for weight, gradient in zip(network.parameters(), gradients, strict=True):
            weight.data.sub_(rate * gradient)
    for key, value in weights(run).items():
        torch.testing.assert_close(value, network.state_dict()[key])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    one = weights(fit(tmp_path, network=UNET, out_dir=tmp_path / "one"))
    torch.rand(5)  # what ran before has no say
    two = weights(fit(tmp_path, network=UNET, out_dir=tmp_path / "two"))
    other = weights(fit(tmp_path, network=UNET, out_dir=tmp_path / "other", seed=4))
    assert same(one, two)
    assert not same(one, other)  # by its dropout


@pytest.mark.slow
def test_the_number_of_workers_changes_no_weight(tmp_path):
    alone = fit(tmp_path, network=UNET, out_dir=tmp_path / "alone")
    helped = fit(tmp_path, network=UNET, out_dir=tmp_path / "helped", workers=2)
    assert same(weights(alone), weights(helped))


def test_the_rate_follows_the_schedule_in_every_iteration(tmp_path):
    run = fit(tmp_path, max_epochs=1, schedule=Poly(power=1.0), rate=0.1)
    rates = [float(row["lr"]) for row in rows(run, "iterations.csv")]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_iterations_may_end_within_an_epoch(tmp_path):
    run = fit(tmp_path, max_iterations=6)
    assert [row["iteration"] for row in rows(run)] == ["4", "6"]
    assert all(row["val_dsc"] for row in rows(run))


def test_validation_comes_every_n_epochs_and_at_the_end(tmp_path):
    run = fit(tmp_path, max_epochs=5, validate_every=2)
    assert [bool(row["val_dsc"]) for row in rows(run)] == [False, True, False, True, True]


def test_without_improvement_it_stops_early(tmp_path):
    run = fit(tmp_path, max_epochs=50, patience=2, rate=1e-12, schedule=Constant())
    assert len(rows(run)) == 3  # the first is the best, two bring nothing


def test_without_validation_the_last_weights_are_delivered(tmp_path):
    run = fit(tmp_path, validated=False)
    assert same(read_model(run / "model").network.state_dict(), weights(run))
    assert [row["val_dsc"] for row in rows(run)] == ["", ""]


def test_bfloat16_trains_and_keeps_float32_weights(tmp_path):
    run = fit(tmp_path, max_epochs=4, rate=0.3, precision="bfloat16", channels_last=True)
    losses = [float(row["train_loss"]) for row in rows(run)]
    assert losses[-1] < losses[0]
    assert {value.dtype for value in weights(run).values()} == {torch.float32}
    read_model(run / "model")


def test_gradients_are_clipped(tmp_path):
    seen = []

    def happens(loss):
        return 1e6 * loss

    original = torch.optim.SGD.step

    class Watching(torch.optim.SGD):
        def step(self, *args):
            group = self.param_groups[0]["params"]
            seen.append(torch.stack([weight.grad.norm() for weight in group]).norm().item())
            return original(self, *args)

    loss = Failing(1, happens)
    fit(tmp_path, max_iterations=2, clip_norm=1e-3, loss=loss, optimizer=Watching)
    assert seen == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_a_loss_that_is_nan_stops_before_it_reaches_the_weights(tmp_path):
    loss = Failing(7, lambda loss: loss * float("nan"))
    with pytest.raises(UsageError, match=r"iteration 7: loss nan: .*look at the loss"):
        fit(tmp_path, max_epochs=3, loss=loss)
    run = tmp_path / "run"
    assert torch.load(run / "checkpoints" / "last.pt", weights_only=True)["iteration"] == 4
    read_model(run / "model")
    assert len(rows(run)) == 1


def test_gradients_that_are_not_finite_stop_it(tmp_path):
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(_, value):
            return value.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient * float("inf")

    loss = Failing(2, Steep.apply)
    with pytest.raises(
        UsageError, match=r"iteration 2: loss .* gradients of norm .*lower learning"
    ):
        fit(tmp_path, clip_norm=1.0, loss=loss)


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(tmp_path):
    def poison(loss):
        return loss + (float("inf") * loss - float("inf") * loss).nan_to_num(0.0)

    loss = Failing(8, poison)  # the last of the second epoch: no later loss shows it
    with pytest.raises(UsageError, match=r"iteration 8: .* is not finite"):
        fit(tmp_path, max_epochs=2, loss=loss)
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert len(rows(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU is out of memory.*batch_size"),
        (MemoryError(), "out of memory.*batch_size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), "out of memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "fewer workers"),
    ],
)
def test_lack_of_memory_ends_with_advice(tmp_path, error, advice):
    with pytest.raises(ResourceError, match=advice):
        fit(tmp_path, loss=Failing(1, raise_(error)))


def test_an_error_of_the_code_is_not_hidden(tmp_path):
    with pytest.raises(RuntimeError, match="size of tensor"):
        fit(tmp_path, loss=Failing(1, raise_(RuntimeError("size of tensor"))))


def test_a_run_is_not_trained_over_unless_asked_to(tmp_path):
    run = fit(tmp_path)
    (run / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UsageError, match=r"holds a run already.*--resume.*--overwrite"):
        fit(tmp_path)
    fit(tmp_path, max_epochs=1, overwrite=True)
    assert len(rows(run)) == 1
    assert (run / "config.yaml").exists()


def test_a_folder_with_a_config_alone_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    fit(tmp_path, max_epochs=1)


def test_progress_hears_of_every_iteration_with_loss_and_dsc(tmp_path):
    heard = []
    fit(tmp_path, progress=lambda *step: heard.append(step))
    trained = [step for step in heard if step[0] == "Training"]
    assert [step[1:3] for step in trained] == [(number, 8) for number in range(1, 9)]
    assert trained[0][3].startswith("loss ")
    assert "DSC" in trained[-1][3]
    assert ("Validating", 2, 2) in [step[:3] for step in heard]


def test_stopped_before_the_first_iteration_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(StoppedError, match="nothing to resume"):
        fit(tmp_path, loss=Failing(1, raise_(KeyboardInterrupt())))


def test_checkpoints_come_within_long_epochs_too(tmp_path, monkeypatch):
    saved = []
    save = handlers.save_checkpoint
    monkeypatch.setattr(
        handlers,
        "save_checkpoint",
        lambda run, path: (saved.append(run.iteration), save(run, path)),
    )
    fit(tmp_path, max_epochs=2, checkpoint_every_minutes=1e-9)
    assert saved == [1, 2, 3, 5, 6, 7]
