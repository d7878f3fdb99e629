"""What is it doing: load, temperature, power and energy, once a second."""
