"""The whole system on a full ROS 2: `ros2 launch mask2iv_ros imagine.launch.py camera:=/camera/image_raw`."""

from dataclasses import fields
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mask2iv_ros.ros.bringup import Arguments, nodes

# Every argument that is one word or path; a parameter file takes what else there is.
NAMES = [field.name for field in fields(Arguments) if field.type == "str"]


def start(context: LaunchContext) -> list[Node]:
    """Return the nodes for the arguments as given on the command line."""
    given = {name: LaunchConfiguration(name).perform(context) for name in NAMES}
    imagine_on_goal = LaunchConfiguration("imagine_on_goal").perform(context).lower() == "true"
    arguments = Arguments(**given, imagine_on_goal=imagine_on_goal)
    files = [str(Path(arguments.params_file).expanduser())] if arguments.params_file else []
    return [
        Node(
            package="mask2iv_ros",
            executable=spec.executable,
            name=spec.name,
            namespace=arguments.namespace,
            parameters=[*files, dict(spec.parameters)],
            remappings=list(spec.remappings),
            output="screen",
        )
        for spec in nodes(arguments)
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    default = Arguments()
    declared = [DeclareLaunchArgument(name, default_value=getattr(default, name)) for name in NAMES]
    declared.append(DeclareLaunchArgument("imagine_on_goal", default_value=str(default.imagine_on_goal).lower()))
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
