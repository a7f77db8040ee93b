"""What core and http both stand on: clock, timers, tasks, eager start."""
