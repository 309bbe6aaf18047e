"""Does a policy learn more from a few demonstrations when imagined ones are added? LeRobot's own commands tell."""
