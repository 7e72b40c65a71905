"""The tokens that retries are paid with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.resilience import BudgetConfig, Outcome, RetryBudget

pytestmark = pytest.mark.unit

OUTCOMES = [Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD, None]


@given(
    size=st.integers(2, 30),
    ratio=st.sampled_from([0.25, 1.0, 3.0]),
    steps=st.lists(st.sampled_from(OUTCOMES), max_size=80),
)
def test_a_budget_is_a_bucket_with_two_prices(size, ratio, steps):
    config = BudgetConfig(size=float(size), start=1.0, ratio=ratio, cost=1.0, slow_cost=2.0)
    budget, tokens, denied = RetryBudget(config), 1.0, 0
    for outcome in steps:
        if outcome is None:
            budget.deposit()
            tokens = min(size, tokens + ratio)
            continue
        price = 1.0 if outcome is Outcome.TRANSIENT else 2.0
        is_paid = tokens >= price
        assert budget.withdraw(outcome) is is_paid
        tokens -= price if is_paid else 0
        denied += not is_paid
        assert (budget.tokens, budget.denied) == (tokens, denied)


def test_retries_are_bounded_by_the_successes_that_pay_for_them():
    budget = RetryBudget(BudgetConfig(size=20.0, start=20.0, ratio=0.5))
    retries = 0
    for _ in range(100):
        budget.deposit()
        while budget.withdraw(Outcome.TRANSIENT):
            retries += 1
    assert retries == 20 + 99 // 2


def test_tokens_put_back_beyond_the_size_stay_but_earn_no_more():
    budget = RetryBudget(BudgetConfig(size=20.0))
    budget.tokens = 25.0
    budget.deposit()
    assert budget.tokens == 25.0
