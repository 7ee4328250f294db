import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler

from medseg.metrics import evaluate_case
from medseg.training.metric import CaseMetric

LABELS = {"liver": 1, "spleen": 2, "both": (1, 2), "aorta": 7}
SPACING = (0.8, 1.0, 3.0)


def maps(seed, count=3):
    rng = np.random.default_rng(seed)
    pred, label = rng.choice([0, 0, 1, 2], (2, count, 1, 5, 6, 7))
    pred[0][pred[0] == 2] = 0  # the spleen of the first case is missed
    return torch.tensor(pred), torch.tensor(label)


def by_hand(pred, label, metric, key, spacing=SPACING):
    """Mean over organs of the means over cases, a miss standing for the image's diagonal."""
    table = np.array([
        [figures[key] for figures in evaluate_case(
            p[0].numpy(), t[0].numpy(), spacing, LABELS, metrics=[metric]).values()]
        for p, t in zip(pred, label, strict=True)
    ])  # fmt: skip
    table[np.isinf(table)] = np.linalg.norm(np.multiply((5, 6, 7), spacing))
    return table, np.mean(np.nanmean(table[:, :3], axis=0))  # the aorta is nowhere


@pytest.mark.parametrize(
    ("metric", "key"), [("dsc", "dsc"), ("hd95", "hd95"), ("assd", "assd"), ("nsd", "nsd_2mm")]
)
def test_the_aggregate_is_what_the_evaluator_gives_by_hand(metric, key):
    pred, label = maps(0)
    table, mean = by_hand(pred, label, metric, key)
    figures = CaseMetric(LABELS, metric)
    figures(pred[:2], label[:2], spacing=SPACING)
    figures(list(pred[2:]), list(label[2:]), spacing=SPACING)
    assert figures.aggregate().item() == pytest.approx(mean, rel=1e-6)
    np.testing.assert_allclose(figures.aggregate("none"), table, rtol=1e-6)
    organs = figures.aggregate("mean_batch")
    np.testing.assert_allclose(organs[:3], table[:, :3].mean(axis=0), rtol=1e-6)
    assert torch.isnan(organs[3])


def test_reset_forgets():
    pred, label = maps(1)
    figures = CaseMetric(LABELS, spacing=SPACING)
    figures(pred, label)
    figures.reset()
    with pytest.raises(ValueError, match="no case"):
        figures.aggregate()
    figures(label, label)
    assert figures.aggregate().item() == 1.0


def test_a_meta_tensor_brings_its_spacing():
    pred, label = maps(2)
    affine = torch.diag(torch.tensor([*SPACING, 1.0]))
    figures = CaseMetric(LABELS, "hd95", spacing=(9.0, 9.0, 9.0))
    figures(list(pred), [MetaTensor(each, affine=affine) for each in label])
    assert figures.aggregate().item() == pytest.approx(by_hand(pred, label, "hd95", "hd95")[1])


@pytest.mark.parametrize("metric", ["dsc", "hd95"])
def test_a_monai_evaluator_reports_it(metric):
    pred, label = maps(3)
    handler = IgniteMetricHandler(
        metric_fn=CaseMetric(LABELS, metric, spacing=SPACING),
        output_transform=lambda out: ([o["pred"] for o in out], [o["label"] for o in out]),
    )
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[
            {"image": p[None].float(), "label": t[None]} for p, t in zip(pred, label, strict=True)
        ],
        network=torch.nn.Identity(),
        key_val_metric={f"mean_{metric}": handler},
    )
    evaluator.run()
    mean = by_hand(pred, label, metric, metric)[1]
    assert float(evaluator.state.metrics[f"mean_{metric}"]) == pytest.approx(mean, rel=1e-6)


def test_what_does_not_fit_is_refused():
    pred, label = maps(4)
    with pytest.raises(ValueError, match="spacing must be given"):
        CaseMetric(LABELS)(pred, label)
    with pytest.raises(ValueError, match=r"class maps of one shape.*\(3, 2, 5, 6, 7\)"):
        CaseMetric(LABELS)(pred.expand(3, 2, 5, 6, 7), label)
    with pytest.raises(ValueError, match="reduction must be"):
        CaseMetric(LABELS, reduction="sum")
    with pytest.raises(ValueError, match="got 'hd96'"):
        CaseMetric(LABELS, "hd96")
