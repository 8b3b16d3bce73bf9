"""What users' parameters are fitted with."""
