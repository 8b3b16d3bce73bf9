"""Many runs: experiments, searches of settings, sensitivity."""
