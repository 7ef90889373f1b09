"""Variable projection as pymanopt problems, and pymanopt's optimizers run to working precision."""

from grassvp.riemannian.parameters import ParameterProblem, parameter_problem
from grassvp.riemannian.result import RiemannianRecord, RiemannianResult
from grassvp.riemannian.running import run
from grassvp.riemannian.spheres import NeuronSpheres
from grassvp.riemannian.subspace import SubspaceProblem, subspace_problem

__all__ = [
    "NeuronSpheres",
    "ParameterProblem",
    "RiemannianRecord",
    "RiemannianResult",
    "SubspaceProblem",
    "parameter_problem",
    "run",
    "subspace_problem",
]
