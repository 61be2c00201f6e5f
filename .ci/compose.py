"""Checks the shape of docker-compose.yml with PyYAML; where that is missing, the check fails.

Without Docker at hand this is what can be checked: it parses, every service has an image or a build, the files that it mounts exist,
and what depends on something depends on a service of the file.
"""

import pathlib
import sys

try:
    import yaml
except ImportError:
    sys.exit("PyYAML is missing, so that the compose file cannot be checked: install python3-yaml")

path = pathlib.Path(sys.argv[1])
document = yaml.safe_load(path.read_text())
problems = []
services = document.get("services", {})
for name in ("kafka", "mail", "phiwatch"):
    if name not in services:
        problems.append(f"no service {name}")
volumes = document.get("volumes", {}) or {}
for name, service in services.items():
    if not ("image" in service) ^ ("build" in service):
        problems.append(f"{name}: either an image or a build")
    if "image" in service and ":" not in service["image"].rsplit("/", 1)[-1]:
        problems.append(f"{name}: the image has no version")
    for other in service.get("depends_on", {}):
        if other not in services:
            problems.append(f"{name}: depends on {other}, which is no service")
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            if not (path.parent / source).exists():
                problems.append(f"{name}: mounts {source}, which does not exist")
        elif source not in volumes:
            problems.append(f"{name}: mounts {source}, which is no volume of the file")
for problem in problems:
    print(f"{path}: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
