"""What several predictions of the same thing give together."""
