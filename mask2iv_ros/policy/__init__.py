"""A plugin of LeRobot: an environment to try policies in, and a policy small enough to train on one CPU core.

LeRobot imports every module here when it is told `--policy.discover_packages_path=mask2iv_ros.policy`
or `--env.discover_packages_path=mask2iv_ros.policy`. Either makes `--policy.type=small_act` and
`--env.type=mask2iv_metaworld` known.
"""
