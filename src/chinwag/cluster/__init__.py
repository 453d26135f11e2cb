"""Chinwag on Ray Serve: `serve run chinwag.cluster:app`, or `serve deploy serve.yaml`. Needs chinwag[cluster].

    Serve's proxies ──► Talking: the server with its page, sockets and sessions
                            ├──► Hearing    speech to text
                            ├──► Thinking   the language model, unless it is an external server
                            └──► Speaking   text to speech

Serve's configuration sets the replicas, CPUs and GPUs of each deployment; `chinwag cluster config` writes such a file.
Chinwag's own settings are in chinwag.toml on the machine that deploys the application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chinwag.cluster.options import INGRESS, Options, served_tasks
from chinwag.config import Config
from chinwag.engines.protocols import Task
from chinwag.errors import ConfigError

if TYPE_CHECKING:
    from ray.serve import Application

NAMES: dict[Task, str] = {"stt": "Hearing", "llm": "Thinking", "tts": "Speaking"}

STICKY = {"request_router_class": "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"}
"""Routes a session to the replica that has its prompt or its audio, as long as that replica lives and has capacity."""

DEFAULT_SESSIONS = 8
"""Sessions planned for an ingress replica if `server.max_sessions` is "auto"."""

SESSION_AFFINITY = {"request_router_class": "chinwag.cluster.routing:SessionAffinityRouter"}


def app(options: Options | Mapping[str, Any]) -> Application:
    """Build the Serve application. options: the arguments of `serve run` or of a Serve config, unchecked.

    Raises ConfigError if the arguments or the settings cannot be used.
    """
    try:
        from ray import serve

        from chinwag.cluster import ingress, serving
    except ImportError as error:
        raise ConfigError(f"Ray Serve is not installed: {error}.", "pip install 'chinwag[cluster]'") from error
    options = Options.read(options)
    settings = options.settings()
    plans = deployments(settings)
    engines: dict[str, Any] = {}
    for task in served_tasks(settings):
        kind = getattr(serving, NAMES[task])
        engines[task] = serve.deployment(kind).options(name=NAMES[task], **plans[NAMES[task]]).bind(settings)
    talking = serve.deployment(ingress.Talking).options(name=INGRESS, **plans[INGRESS])
    application: Application = talking.bind(settings, options.silent_s, **engines)
    return application


def deployments(settings: Config) -> dict[str, dict[str, Any]]:
    """Return the default options of each deployment by name. The numbers were measured for docs/scaling.md."""
    most, slots = settings.server.max_sessions, settings.llm.slots
    sessions = DEFAULT_SESSIONS if most == "auto" else most

    def engine(cpus: float, ongoing: float, most: int) -> dict[str, Any]:
        return {
            "max_ongoing_requests": most,
            "autoscaling_config": autoscaling(ongoing),
            "ray_actor_options": {"num_cpus": cpus},
            "request_router_config": STICKY,
            "health_check_period_s": 5.0,
            "graceful_shutdown_timeout_s": 20.0,
        }

    plans: dict[str, dict[str, Any]] = {
        INGRESS: {
            # room for page requests and for clients that are refused or queued
            "max_ongoing_requests": sessions + 64,
            "autoscaling_config": {**autoscaling(max(1.0, sessions * 0.75)), "downscale_delay_s": 600.0},
            "ray_actor_options": {"num_cpus": 0.5},
            "request_router_config": SESSION_AFFINITY,
            "health_check_period_s": 5.0,
            # sessions may end in this time; afterwards their clients resume at another replica
            "graceful_shutdown_timeout_s": 120.0,
        }
    }
    sizes = {"stt": engine(1.0, 1.5, 8), "llm": engine(2.0, slots * 0.75, slots * 2), "tts": engine(0.5, 1.5, 8)}
    return plans | {NAMES[task]: sizes[task] for task in served_tasks(settings)}


def autoscaling(ongoing: float) -> dict[str, Any]:
    """Return an autoscaling configuration with a target of `ongoing` concurrent requests a replica."""
    return {
        "min_replicas": 1,
        "max_replicas": 100,
        "target_ongoing_requests": ongoing,
        "upscale_delay_s": 5.0,
        "downscale_delay_s": 120.0,
        "metrics_interval_s": 2.0,
        "look_back_period_s": 10.0,
    }


HEADER = """\
# Chinwag on Ray Serve: `serve deploy` this file. Edit any number and deploy again, also while it runs.
# docs/scaling.md explains the numbers. Chinwag's own settings are in chinwag.toml.
proxy_location: EveryNode        # a load balancer may send requests to any machine
http_options:
  host: {host}              # with keys in chinwag.toml: 0.0.0.0
  port: {port}
  request_timeout_s: null        # a session is one long request
applications:
  - name: chinwag
    import_path: chinwag.cluster:app
    route_prefix: /
    args:
      config: {config}
      silent_s: {silent_s:g}              # a request moves to another replica after so much silence
    deployments:
"""

SHARES = {
    INGRESS: "sessions: about two need one CPU",
    "Hearing": 'four replicas share a GPU with num_gpus: 0.25 and stt.device = "cuda"',
    "Thinking": "one replica batches llm.slots sessions; num_gpus: 1 for a large model",
    "Speaking": 'four replicas share a GPU with num_gpus: 0.25 and tts.device = "cuda"',
}


def config_file(options: Options) -> str:
    """Return a Serve config for `serve deploy` with the defaults of `deployments`. Raises ConfigError."""
    settings = options.settings()
    values = {"host": settings.server.host, "port": settings.server.port, "silent_s": options.silent_s}
    text = HEADER.format(config=options.config or '""', **values)
    for name, plan in deployments(settings).items():
        scale, router = plan["autoscaling_config"], plan["request_router_config"]["request_router_class"]
        text += f"""\
      - name: {name}
        max_ongoing_requests: {plan["max_ongoing_requests"]}
        ray_actor_options:
          num_cpus: {plan["ray_actor_options"]["num_cpus"]:g}            # {SHARES[name]}
        autoscaling_config:
"""
        text += "".join(f"          {key}: {value:g}\n" for key, value in scale.items())
        text += f"        request_router_config:\n          request_router_class: {router}\n"
        text += f"        health_check_period_s: {plan['health_check_period_s']:g}\n"
        text += f"        graceful_shutdown_timeout_s: {plan['graceful_shutdown_timeout_s']:g}\n"
    return text
