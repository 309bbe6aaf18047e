"""Quality of service, by what a topic carries."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

# Camera streams: a lost frame is replaced by the next one.
SENSOR = qos_profile_sensor_data

# The latest of something that is made rarely: who joins late still gets it.
LATEST = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

# What an operator or a planner sends: nothing lost, and a restarted node starts no work of yesterday.
COMMAND = QoSProfile(depth=8, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)

# An exporter that is restarted finds the last 64 rollouts again: the largest order of one goal.
ROLLOUTS = QoSProfile(
    depth=64,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
