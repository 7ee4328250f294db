import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.training.schedules import Constant, Cosine, Poly

SHARES = st.floats(0, 1)


def test_poly_halfway_by_hand():
    assert Poly(power=2.0)(0.5) == 0.25
    assert Poly()(0.5) == pytest.approx(0.5359, abs=1e-4)  # 0.5 ** 0.9


def test_poly_is_that_of_transunet_at_each_of_ten_iterations():
    expected = [0.01 * (1 - step / 10) ** 0.9 for step in range(10)]
    assert [0.01 * Poly()(step / 10) for step in range(10)] == pytest.approx(expected)


def test_cosine_by_hand():
    cosine = Cosine(final=0.2)
    assert [cosine(at) for at in (0, 0.5, 1)] == pytest.approx([1.0, 0.6, 0.2])


@pytest.mark.parametrize("schedule", [Poly(warmup=0.2), Cosine(warmup=0.2), Constant(warmup=0.2)])
def test_warm_up_rises_in_a_straight_line_to_the_base_rate(schedule):
    assert [schedule(at) for at in (0, 0.05, 0.1, 0.2)] == pytest.approx([0, 0.25, 0.5, 1])


def test_what_follows_the_warm_up_goes_all_the_way():
    assert Poly(power=1.0, warmup=0.5)(0.75) == pytest.approx(0.5)
    assert Poly(warmup=0.5)(1.0) == 0
    assert Constant(warmup=0.5)(1.0) == 1


@given(progress=SHARES, warmup=st.floats(0, 0.9))
def test_no_schedule_leaves_zero_to_one(progress, warmup):
    for schedule in (Poly(warmup=warmup), Cosine(warmup=warmup), Constant(warmup=warmup)):
        assert 0 <= schedule(progress) <= 1 + 1e-12


@given(one=SHARES, other=SHARES)
def test_without_warm_up_the_rate_never_rises(one, other):
    early, late = sorted((one, other))
    assert Poly()(early) >= Poly()(late)
    assert Cosine()(early) >= Cosine()(late)


@pytest.mark.parametrize(
    "wrong", [lambda: Poly(warmup=1.0), lambda: Cosine(final=2.0), lambda: Poly(power=0)]
)
def test_numbers_without_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="must"):
        wrong()
