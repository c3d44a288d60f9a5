"""Many runs at once: plan, launch, and report."""
