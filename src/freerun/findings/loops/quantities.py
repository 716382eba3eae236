"""The numbers about loops, each defined once: for audits, and for texts that come without a model."""

from __future__ import annotations

from freerun.results.quantity import LEAST_SEQUENCES, Quantity

INCIDENCE = Quantity(
    "loops",
    "loop_incidence",
    "Loop, own text",
    "share",
    own_text=True,
    gates=("loops", "loop_incidence"),
    card=True,
    least=LEAST_SEQUENCES,
)
INCIDENCE_REAL = Quantity("loops", "loop_incidence_real", "Loop, real text", "share")
ENDS = Quantity(
    "loops",
    "end_incidence",
    "End of text, own text",
    "share",
    own_text=True,
    gates=("ends", "end_incidence"),
    least=LEAST_SEQUENCES,
)
HAZARD = Quantity(
    "loops",
    "loop_hazard",
    "Loop hazard, own text",
    "per token",
    own_text=True,
    gates=("loop_hazard",),
    least=LEAST_SEQUENCES,
)
HAZARD_BY_MASS = Quantity("loops", "loop_hazard_rao_blackwell", "Loop hazard by mass", "per token", own_text=True)
LOG_RANK = Quantity(
    "loops",
    "loop_log_rank_p",
    "Loops, own against real text: p-value of the log-rank test within documents",
    "",
    own_text=True,
    exact=True,
)
ESCAPE = Quantity("loops", "loop_escape_per_token", "Chance that a token leaves a loop", "per token", own_text=True)
ESCAPE_BY_MASS = Quantity(
    "loops", "loop_escape_rao_blackwell", "Chance of leaving a loop, by mass", "per token", own_text=True
)
TIME_IN_TRAP = Quantity("loops", "time_in_trap_tokens", "Expected time in a trap", "tokens", own_text=True)
PROVEN_KL = Quantity(
    "loops", "kl_from_loops_at_least_nats", "KL that the share of looping texts proves", "nats", own_text=True
)
NEAR = Quantity(
    "loops", "near_loop_incidence", "Near-loop, own text", "share", own_text=True, paired=False, least=LEAST_SEQUENCES
)
NEAR_REAL = Quantity("loops", "near_loop_incidence_real", "Near-loop, real text", "share", paired=False)
COUNTING = Quantity(
    "loops",
    "counting_loop_incidence",
    "Loop once its numbers are left out, own text",
    "share",
    own_text=True,
    paired=False,
    least=LEAST_SEQUENCES,
)
COUNTING_REAL = Quantity(
    "loops", "counting_loop_incidence_real", "Loop once its numbers are left out, real text", "share", paired=False
)
BEGUN = Quantity(
    "loops", "loops_per_million_tokens", "Loops begun, own text", "per million tokens", own_text=True, paired=False
)
BEGUN_REAL = Quantity(
    "loops", "loops_per_million_tokens_real", "Loops begun, real text", "per million tokens", paired=False
)
FALSE_STOPS = Quantity(
    "loops",
    "false_stops_per_million_tokens",
    "Real texts that a stop rule ends",
    "per million tokens",
    paired=False,
)
TOKENS_SAVED = Quantity(
    "loops", "tokens_saved", "Tokens of own text that a stop rule saves", "share", own_text=True, paired=False
)
QUANTITIES = (
    INCIDENCE,
    INCIDENCE_REAL,
    ENDS,
    HAZARD,
    HAZARD_BY_MASS,
    LOG_RANK,
    ESCAPE,
    ESCAPE_BY_MASS,
    TIME_IN_TRAP,
    PROVEN_KL,
    NEAR,
    NEAR_REAL,
    COUNTING,
    COUNTING_REAL,
    BEGUN,
    BEGUN_REAL,
    FALSE_STOPS,
    TOKENS_SAVED,
)
