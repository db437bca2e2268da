"""A simulated corridor with known truth: ground, slumps, look-alikes, and PlanetScope items as they are delivered."""
