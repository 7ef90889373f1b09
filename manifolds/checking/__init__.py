"""The parts of manifolds.checks: sampling, numerical derivatives, laws and reports."""
