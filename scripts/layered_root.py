"""A Dockerfile built without Docker: each step as written, in a chroot on overlayfs, one layer a step.

For scripts/check_docker.py. Needs Linux, root, overlayfs, unshare and debootstrap. What of the machine's own settings
the network needs (resolver, certificates, proxies, pip's index) is lent while a step runs and is in no layer; apt's
mirror is the base's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from dockerfile_parse import DockerfileParser

LENT = Path("run/lent.crt")
"""Where the machine's certificates are mounted while a step runs."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
SLIM = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
"""Folders of /usr/share that Debian's slim images leave out, of what is installed later as well."""

CLEAN = """DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""What those images have apt leave behind: nothing."""


@dataclass
class Layer:
    """What one step has written. size: bytes, unpacked."""

    step: str
    folder: Path
    size: int
    seconds: float


@dataclass
class Image:
    """A stage: its layers, the lowest first, and what containers of it are started with."""

    layers: list[Layer]
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)

    def variables(self, more: Mapping[str, str] | None = None) -> list[str]:
        """As `env -i` takes them, with the home that the user's entry in passwd tells."""
        home = "/"
        for layer in self.layers:
            passwd = layer.folder / "etc/passwd"
            for line in passwd.read_text().splitlines() if passwd.is_file() else ():
                _, _, uid, _, _, place, _ = line.split(":")
                home = place if uid == self.user.split(":")[0] else home
        return [f"{name}={value}" for name, value in {"HOME": home, **self.env, **(more or {})}.items()]


class Builder:
    """Builds the stages of a Dockerfile, each once. place: a folder of its own; steps that are kept there are taken."""

    def __init__(self, dockerfile: Path, place: Path) -> None:
        self._place, self._made = place, dict[str, Image]()
        parser = DockerfileParser(str(dockerfile), cache_content=True, env_replace=False)
        self._args: dict[str, str] = {}
        self._stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        name = ""
        for step in parser.structure:
            word, value = step["instruction"], step["value"]
            if word == "ARG" and not self._stages:
                key, _, default = value.partition("=")
                self._args[key] = default
            elif word == "FROM":
                base, _, name = value.partition(" AS ")
                self._stages[name] = (_filled(base, self._args), [])
            elif word != "COMMENT":
                self._stages[name][1].append((word, value))
        shutil.rmtree(place / "context", ignore_errors=True)
        self._context = _context(dockerfile.parent, place / "context")
        self._lent = _lent()

    @property
    def stages(self) -> list[str]:
        return list(self._stages)

    def build(self, name: str) -> Image:
        """The image of a stage, and before it what it is made of. Raises SystemExit where a step fails."""
        if name not in self._made:
            base, steps = self._stages[name]
            below = self.build(base) if base in self._stages else Image([debian(base, self._place.parent)])
            print(f"\n== {name} (from {base})", flush=True)
            image = deepcopy(below)
            for word, value in steps:
                self._step(image, word, value)
            self._made[name] = image
        return self._made[name]

    def _step(self, image: Image, word: str, value: str) -> None:
        match word:
            case "ENV":
                for pair in shlex.split(value):
                    key, _, given = pair.partition("=")
                    image.env[key] = _filled(given, image.env)
            case "USER":
                image.user = value
            case "ENTRYPOINT":
                image.entrypoint, image.cmd = _words(value), []
            case "CMD":
                image.cmd = _words(value)
            case "VOLUME":
                image.volumes += _words(value)
            case "HEALTHCHECK":
                image.healthcheck = _words(value.partition("CMD ")[2])
            case "EXPOSE":
                pass
            case "WORKDIR":
                image.workdir = value
                self._write(image, f"WORKDIR {value}", f'mkdir -p "$ROOT"{shlex.quote(value)}')
            case "COPY":
                self._write(image, f"COPY {value}", *self._copy(image, value))
            case "RUN":
                self._write(image, f"RUN {value}", *self._run(image, value))
            case _:
                raise SystemExit(f"{word} is not known here: {value}")

    def _copy(self, image: Image, value: str) -> tuple[str, Mapping[str, Image]]:
        flags, (*sources, target) = _flags(value)
        if unknown := [flag for flag in flags if flag != "from"]:
            raise SystemExit(f"COPY --{unknown[0]} is not known here.")
        others = {"/other": self.build(flags["from"])} if "from" in flags else {}
        whence = '"$OTHER"' if others else shlex.quote(str(self._context))
        into = os.path.join(image.workdir, target)
        lines = []
        for source in sources:
            path = f"{whence}/{source.lstrip('/')}"
            # of a folder the content is copied; the owner is root, whoever had it before
            lines.append(
                f'if [ -d {path} ]; then mkdir -p "$ROOT"{into};'
                f' cp -R -P --preserve=mode,timestamps,links {path}/. "$ROOT"{into};'
                f' else mkdir -p "$(dirname "$ROOT"{into}x)"; cp --preserve=mode,timestamps {path} "$ROOT"{into}; fi'
            )
        return "\n".join(lines), others

    def _run(self, image: Image, value: str) -> tuple[str, Mapping[str, Image]]:
        flags, rest = {}, value
        others: dict[str, Image] = {}
        before = ""
        while found := re.match(r"--(\w+)=(\S+)\s+", rest):
            flags[found[1]], rest = found[2], rest[found.end() :]
        if "mount" in flags:
            mount = dict(part.split("=", 1) for part in flags.pop("mount").split(","))
            if mount["type"] != "bind":
                raise SystemExit(f"RUN --mount=type={mount['type']} is not known here.")
            others["/other"] = self.build(mount["from"])
            before = (
                f'mkdir -p "$ROOT"{mount["target"]}; mount --bind "$OTHER"{mount["source"]} "$ROOT"{mount["target"]}\n'
            )
        if flags:
            raise SystemExit(f"RUN --{next(iter(flags))} is not known here.")
        lent = image.variables(self._lent)
        return before + entering(image.user, image.workdir, lent, ["/bin/sh", "-c", rest]), others

    def _write(self, image: Image, step: str, script: str, others: Mapping[str, Image] | None = None) -> None:
        """Run a script over the image's layers; what it writes is a new one. What was kept of the same is taken."""
        other = next(iter((others or {}).values()), None)
        folder = self._place / self._mark(image, step, other)
        told, layer = folder / "told.json", Layer(step, folder / "up", 0, 0)
        shown = " ".join(step.split())
        print(f"   {shown[:150]}{' …' * (len(shown) > 150)}", flush=True)
        if told.exists():
            layer.size, layer.seconds = json.loads(told.read_text())
        else:
            shutil.rmtree(folder, ignore_errors=True)
            layer.folder.mkdir(parents=True)
            began = time.monotonic()
            command = isolated(mounting([one.folder for one in image.layers], folder, other), script)
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{done.stdout}\nThat step ended with {done.returncode}.")
            _unmounted(layer)
            layer.size, layer.seconds = measured(layer.folder), time.monotonic() - began
            told.write_text(json.dumps([layer.size, layer.seconds]))
        print(f"      {layer.size / 1e6:.1f} MB in {layer.seconds:.1f} s", flush=True)
        image.layers.append(layer)

    def _mark(self, image: Image, step: str, other: Image | None) -> str:
        """Of a step over what it stands on and what it takes in."""
        known = [str(layer.folder) for one in (image, other) if one for layer in one.layers]
        known += [step, image.user, image.workdir, json.dumps(image.env)]
        if step.startswith("COPY") and not other:
            for path in sorted(one for one in self._context.rglob("*") if one.is_file()):
                name = path.relative_to(self._context).as_posix()
                if any(name == source or name.startswith(f"{source}/") for source in step.split()[1:-1]):
                    known.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _unmounted(layer: Layer) -> None:
    """Take the empty points of mounts out of a layer, of which Docker leaves no trace either."""
    if found := re.search(r"--mount=\S*target=(\S+)", layer.step):
        (layer.folder / found[1].strip("/,")).rmdir()


def mounting(layers: Sequence[Path], folder: Path, other: Image | None = None) -> str:
    """Shell that mounts layers, the lowest first, at $ROOT, to be written to in folder/up; another image at $OTHER."""
    for name in ("work", "root", "other", "up"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lower = ":".join(map(str, reversed(layers)))
    lines = [
        "set -e",
        f"ROOT={shlex.quote(str(folder / 'root'))} OTHER={shlex.quote(str(folder / 'other'))}",
        f'mount -t overlay overlay -o lowerdir={lower},upperdir={folder / "up"},workdir={folder / "work"} "$ROOT"',
        'mount -t proc proc "$ROOT"/proc',
        'mount --rbind /dev "$ROOT"/dev',
        'mount --bind /etc/resolv.conf "$ROOT"/etc/resolv.conf',
    ]
    if certificates := _certificates():
        lines.append(f'mount --bind {shlex.quote(certificates)} "$ROOT"/{LENT}')
    if other:
        lower = ":".join(str(one.folder) for one in reversed(other.layers))
        lines.append(f'mount -t overlay overlay -o lowerdir={lower} "$OTHER"')
    return "\n".join(lines)


def isolated(*scripts: str) -> list[str]:
    """A command that runs a script with mounts and processes of its own; its last `exec` becomes process 1 there."""
    unshared = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return [*unshared, "/bin/sh", "-c", "\n".join(scripts)]


def entering(user: str, workdir: str, variables: Iterable[str], command: Sequence[str]) -> str:
    """Shell that becomes a command in $ROOT, as a user ("10001:10001"), with these variables and no others."""
    inside = shlex.join(["/usr/bin/env", "-i", f"--chdir={workdir}", *variables, *command])
    uid, _, gid = user.partition(":")
    return f'exec chroot --userspec={uid}:{gid or uid} --groups={gid or uid} "$ROOT" {inside}'


def debian(base: str, place: Path) -> Layer:
    """Debian as its slim image has it, by debootstrap; made once and kept in the folder."""
    found = re.fullmatch(r"debian:(\w+)-slim", base)
    if not found:
        raise SystemExit(f"Only debian:NAME-slim can be made here, not {base}.")
    suite, folder = found[1], place / f"debian-{found[1]}"
    if not (folder / LENT).exists():
        print(f"== {base} by debootstrap (once)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        if not shutil.which("debootstrap"):
            subprocess.run(["apt-get", "install", "-y", "-qq", "debootstrap"], check=True, stdout=subprocess.DEVNULL)
        mirror, security = _mirrors()
        quiet = ["debootstrap", "--variant=minbase", suite, str(folder), mirror]
        if subprocess.run(quiet, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SystemExit("debootstrap failed; what it said is above, and in debootstrap/debootstrap.log there.")
        sources = (
            f"deb {mirror} {suite} main\ndeb {mirror} {suite}-updates main\ndeb {security} {suite}-security main\n"
        )
        (folder / "etc/apt/sources.list").write_text(sources)
        dates = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
        kept = [line for line in dates.splitlines() if re.match(r"Acquire::(Check-\S+|https?::Proxy\S*) ", line)]
        (folder / "etc/apt/apt.conf.d/99lent").write_text("\n".join(kept) + "\n")
        (folder / "etc/apt/apt.conf.d/docker-clean").write_text(CLEAN)
        excluded = "".join(f"path-exclude=/usr/share/{name}/*\n" for name in SLIM)
        (folder / "etc/dpkg/dpkg.cfg.d/docker").write_text(f"{excluded}path-include=/usr/share/doc/*/copyright\n")
        for path in [path for name in SLIM for path in (folder / "usr/share" / name).rglob("*")]:
            if path.name != "copyright" and not path.is_dir():
                path.unlink()
        for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(folder / name)
            (folder / name / "partial").mkdir(parents=True)
        (folder / LENT).touch()
    return Layer(f"FROM {base}", folder, measured(folder), 0)


def measured(folder: Path) -> int:
    """Bytes of the files under a folder; what is linked twice counts once."""
    told = subprocess.run(["du", "-sb", "--one-file-system", str(folder)], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[0])


def compressed(layer: Layer) -> int:
    """Bytes of the layer as registries keep it: a tar, by gzip."""
    made = f"tar -C {shlex.quote(str(layer.folder))} -c . | gzip | wc -c"
    return int(subprocess.run(made, shell=True, capture_output=True, text=True, check=True).stdout)


def ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore leaves a path out: the last pattern that fits it, or a folder above it, decides."""
    parts, out = path.split("/"), False
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    for pattern in patterns:
        plain = pattern.removeprefix("!").rstrip("/")
        anywhere = plain.removeprefix("**/")
        tried = above if plain == anywhere else [*above, *parts]
        depth = anywhere.count("/")
        if any(one.count("/") == depth and fnmatchcase(one, anywhere) for one in tried):
            out = not pattern.startswith("!")
    return out


def _context(root: Path, into: Path) -> Path:
    """What COPY may take: the repository's files less those of .dockerignore."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    tops = [path for path in root.iterdir() if not ignored(path.name, patterns)]
    for path in [one for top in tops for one in ([top] if top.is_file() else top.rglob("*")) if one.is_file()]:
        name = path.relative_to(root).as_posix()
        if not ignored(name, patterns):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into / name)
    return into


def _lent() -> dict[str, str]:
    """Variables that the network needs here, for RUN alone, as Docker's own build arguments for proxies are."""
    lent = {name: value for name, value in os.environ.items() if name.lower() in PROXIES}
    index = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    if url := subprocess.run(index, capture_output=True, text=True, check=False).stdout.strip():
        lent["PIP_INDEX_URL"] = url
    if _certificates():
        lent |= {"PIP_CERT": f"/{LENT}", "SSL_CERT_FILE": f"/{LENT}"}
    return lent


def _certificates() -> str:
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or ""
    return named if named and Path(named).is_file() else ""


def _mirrors() -> tuple[str, str]:
    """Debian's mirror and that of its security updates, as this machine's apt has them."""
    listing = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"]
    told = subprocess.run(listing, capture_output=True, text=True, check=False)
    sites = [line.split() for line in told.stdout.splitlines() if "debian" in line]
    if not sites:
        raise SystemExit("apt knows no mirror of Debian here: run apt-get update first.")
    plain = next(site for site, release in sites if "security" not in site + release)
    secure = next((site for site, release in sites if "security" in site + release), plain)
    return plain, secure


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], ""), text)


def _flags(value: str) -> tuple[dict[str, str], list[str]]:
    words = shlex.split(value)
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    return flags, [word for word in words if not word.startswith("--")]


def _words(value: str) -> list[str]:
    """Of the exec form; the shell form hides signals from the server and is refused."""
    try:
        words: list[str] = json.loads(value)
    except ValueError:
        raise SystemExit(f"Write it in the exec form, as a list: {value}") from None
    return words
