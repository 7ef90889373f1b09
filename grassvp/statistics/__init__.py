"""Standard errors, correlations, intervals and bands of a separable least-squares fit."""

from grassvp.statistics.covariance import ErrorFactors
from grassvp.statistics.factors import error_factors
from grassvp.statistics.fitting import fit_statistics
from grassvp.statistics.report import FitStatistics

__all__ = ["ErrorFactors", "FitStatistics", "error_factors", "fit_statistics"]
