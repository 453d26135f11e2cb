"""Chinwag on Ray Serve: `serve run chinwag.cluster:app`, or `serve deploy serve.yaml`. Needs chinwag[cluster].

    Serve's proxies ──► Talking: the server with its page, sockets and sessions
                            ├──► Hearing    speech to text
                            ├──► Thinking   the language model, unless it is a server of its own
                            └──► Speaking   text to speech

What each deployment is given (replicas, CPUs, GPUs) is Serve's configuration: `chinwag cluster config` writes a file
of it to edit. What Chinwag is told is chinwag.toml, read where the application is deployed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chinwag.cluster.options import Options, served
from chinwag.config import Config
from chinwag.engines.protocols import Task
from chinwag.errors import ConfigError

if TYPE_CHECKING:
    from ray.serve import Application

NAMES: dict[Task, str] = {"stt": "Hearing", "llm": "Thinking", "tts": "Speaking"}
INGRESS = "Talking"

STICKY = {"request_router_class": "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"}
"""A conversation is sent to the replica that has its prompt or its sound, as long as that one lives and has room."""

USUAL_SESSIONS = 8
"""That an ingress replica is planned for where it finds out by itself how many it can hold."""

BACK = {"request_router_class": "chinwag.cluster.routing:BackToItsReplica"}


def app(options: Options | Mapping[str, Any]) -> Application:
    """The application. Serve gives the arguments of `serve run` and of its config file as they were written.

    Raises ConfigError where they, or the settings, cannot be used.
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
    for task in served(settings):
        kind = getattr(serving, NAMES[task])
        engines[task] = serve.deployment(kind).options(name=NAMES[task], **plans[NAMES[task]]).bind(settings)
    talking = serve.deployment(ingress.Talking).options(name=INGRESS, **plans[INGRESS])
    made: Application = talking.bind(settings, options.silent_s, **engines)
    return made


def deployments(settings: Config) -> dict[str, dict[str, Any]]:
    """What each deployment is given where the Serve config says nothing else, by its name; measured for
    docs/scaling.md."""
    most, slots = settings.server.max_sessions, settings.llm.slots
    sessions = USUAL_SESSIONS if most == "auto" else most

    def engine(cpus: float, ongoing: float, most: int) -> dict[str, Any]:
        return {
            "max_ongoing_requests": most,
            "autoscaling_config": scaled(ongoing),
            "ray_actor_options": {"num_cpus": cpus},
            "request_router_config": STICKY,
            "health_check_period_s": 5.0,
            "graceful_shutdown_timeout_s": 20.0,
        }

    plans: dict[str, dict[str, Any]] = {
        INGRESS: {
            # beside the conversations there is the page, and what tells that all places are taken
            "max_ongoing_requests": sessions + 64,
            "autoscaling_config": {**scaled(max(1.0, sessions * 0.75)), "downscale_delay_s": 600.0},
            "ray_actor_options": {"num_cpus": 0.5},
            "request_router_config": BACK,
            "health_check_period_s": 5.0,
            # those who are talking have so long to come to an end; then they come back to another replica
            "graceful_shutdown_timeout_s": 120.0,
        }
    }
    sizes = {"stt": engine(1.0, 1.5, 8), "llm": engine(2.0, slots * 0.75, slots * 2), "tts": engine(0.5, 1.5, 8)}
    return plans | {NAMES[task]: sizes[task] for task in served(settings)}


def scaled(ongoing: float) -> dict[str, Any]:
    """From one replica to as many as are needed for so many questions at once in each."""
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
# Chinwag on Ray Serve: serve deploy this file. Each number may be edited while it runs; deploy it again.
# docs/scaling.md tells what they are good for. Settings of Chinwag itself are in chinwag.toml.
proxy_location: EveryNode        # a load balancer in front may ask any machine
http_options:
  host: {host}              # with keys in chinwag.toml: 0.0.0.0
  port: {port}
  request_timeout_s: null        # a conversation is one long request
applications:
  - name: chinwag
    import_path: chinwag.cluster:app
    route_prefix: /
    args:
      config: {config}
      silent_s: {silent_s:g}              # a replica that says nothing for so long is given up for another
    deployments:
"""

SHARES = {
    INGRESS: "conversations: about two of them take one CPU",
    "Hearing": 'add num_gpus: 0.25, and stt.device = "cuda", to have four on a GPU',
    "Thinking": "it batches llm.slots conversations by itself; num_gpus: 1 for a large model",
    "Speaking": 'add num_gpus: 0.25, and tts.device = "cuda", to have four on a GPU',
}


def config_file(options: Options) -> str:
    """A Serve config for `serve deploy`, with what `deployments` gives. Raises ConfigError."""
    settings = options.settings()
    filled = {"host": settings.server.host, "port": settings.server.port, "silent_s": options.silent_s}
    text = HEADER.format(config=options.config or '""', **filled)
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
