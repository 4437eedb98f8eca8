"""Power modes, clocks and sensors of a Jetson board."""
