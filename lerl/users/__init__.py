"""How real the simulated users are: fitting, evaluation, fidelity."""
