"""The gateway with its doors, and behind one of them the control API."""

from __future__ import annotations

from starlette.applications import Starlette

from lambent import __version__
from lambent.clock import SystemClock
from lambent.control.api import control_app
from lambent.control.datasets import Shelf
from lambent.control.doctor import Doctor
from lambent.control.uploads import Uploads
from lambent.control.verbs.aliases import AliasVerbs
from lambent.control.verbs.datasets import DatasetVerbs
from lambent.control.verbs.dead_letters import DeadLetterVerbs
from lambent.control.verbs.deployments import DeploymentVerbs
from lambent.control.verbs.house import HouseVerbs
from lambent.control.verbs.models import ModelVerbs
from lambent.control.verbs.run_records import RunRecordVerbs
from lambent.control.verbs.runs import RunVerbs
from lambent.control.verbs.temperature import TemperatureVerbs
from lambent.control.verbs.timers import TimerVerbs
from lambent.control.verbs.webhooks import WebhookVerbs
from lambent.control.views import Views
from lambent.core.naming import PROJECT
from lambent.engines.machine import memory_bytes
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.app import Gateway
from lambent.gateway.bodies import SMALL_BYTES, Bodies
from lambent.gateway.pages import Pages, Pieces
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.aws import logs
from lambent.gateway.protocols.aws.control import served
from lambent.gateway.protocols.aws.door import AwsDoor
from lambent.gateway.protocols.aws.downloads import Downloads
from lambent.gateway.protocols.aws.elsewhere import Elsewhere
from lambent.gateway.protocols.aws.invoke import Invoke, Limits
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.services import LAMBDA_PATH, RestService, TargetService
from lambent.gateway.protocols.aws.streaming import InvokeStreaming
from lambent.gateway.protocols.aws.urls import UrlDoor
from lambent.gateway.protocols.native import NativeDoor
from lambent.gateway.readiness import Readiness
from lambent.gateway.reserved import Reserved
from lambent.gateway.trimming import Trimming
from lambent.jobs.datasets import OnData
from lambent.metering.statements import Statements
from lambent.observe.exposition import asked_for
from lambent.wiring import ecosystems
from lambent.wiring.aws import AwsControl
from lambent.wiring.offline import Offline
from lambent.wiring.parts import Parts
from lambent.wiring.queues import sqs
from lambent.wiring.sagemaker import SageMaker


def behind_doors(parts: Parts, clock: SystemClock) -> Behind:
    """What is behind the doors of every port: what is sent to them counts against one room for bodies."""
    settings = parts.settings
    bodies = Bodies(
        clock,
        bytes_max=settings.bodies_bytes(memory_bytes()),
        uncounted_bytes=SMALL_BYTES,
        after_flood=Trimming().over,
    )
    return Behind(
        invoker=parts.dispatcher,
        routes=parts.routes,
        keys=parts.keys,
        clock=clock,
        bodies=bodies,
        body_bytes_max=settings.body_bytes_max,
    )


def gateway(
    parts: Parts,
    behind: Behind,
    aws: AwsControl,
    sagemaker: SageMaker,
    offline: Offline,
    clock: SystemClock,
) -> Gateway:
    """All that is answered on the server's port."""
    acceptance = Acceptance(parts.queue, parts.routes)
    senders = Senders(parts.keys, auth=parts.settings.aws_auth, project=PROJECT)
    apps = AppsDoor(behind)
    reserved = Reserved(parts.dispatcher, parts.reservations)
    shelf = _shelf(parts, clock)
    return Gateway(
        apps=apps,
        native=NativeDoor(behind, apps=apps, acceptance=acceptance),
        urls=UrlDoor(
            invoker=reserved,
            urls=parts.function_urls,
            routes=parts.routes,
            senders=senders,
            bodies=behind.bodies,
            clock=clock,
            limits=_limits(parts),
        ),
        protocols=[
            offline.door(behind, shelf),
            *ecosystems.protocols(parts, behind, apps),
            AwsDoor(
                services=[
                    _aws_lambda(parts, reserved, aws, acceptance, clock),
                    _aws_logs(parts),
                    *sagemaker.services(acceptance),
                    sqs(parts),
                    Elsewhere(),
                ],
                senders=senders,
                bodies=behind.bodies,
            ),
            Downloads(parts.kept.artifacts, parts.kept.master, clock),
        ],
        pages=_pages(parts, clock),
        control=_control(parts, shelf, clock),
        keys=parts.keys,
    )


def _aws_lambda(
    parts: Parts, invoker: Reserved, aws: AwsControl, acceptance: Acceptance, clock: SystemClock
) -> RestService:
    routes, limits = parts.routes, _limits(parts)
    invoke = Invoke(invoker=invoker, acceptance=acceptance, routes=routes, clock=clock, limits=limits)
    streaming = InvokeStreaming(invoker=invoker, routes=routes, clock=clock, limits=limits)
    control = served(aws.operations())
    operations = [*invoke.operations(), *streaming.operations(), *control]
    return RestService("lambda", LAMBDA_PATH, operations)


def _aws_logs(parts: Parts) -> TargetService:
    return TargetService("logs", logs.MODEL, logs.Logs(parts.kept.logs, parts.routes).operations())


def _pages(parts: Parts, clock: SystemClock) -> Pages:
    store = parts.kept.store.database
    return Pages(
        keys=parts.keys,
        metrics=lambda accept: _metrics(parts, accept),
        readiness=Readiness(clock, accepts=lambda: parts.dispatcher.accepting, ping_store=store.ping),
    )


def _metrics(parts: Parts, accept: str) -> Pieces:
    format_ = asked_for(accept)
    return parts.metrics.page(format_), format_.value


def _limits(parts: Parts) -> Limits:
    settings = parts.settings
    return Limits(
        request_bytes_max=settings.aws_request_bytes_max,
        response_bytes_max=settings.aws_response_bytes_max,
        event_bytes_max=settings.aws_event_bytes_max,
        stream_bytes_max=settings.aws_stream_bytes_max,
    )


def _control(parts: Parts, shelf: Shelf, clock: SystemClock) -> Starlette:
    kept = parts.kept
    views = Views(
        parts.pool,
        parts.dispatcher.queued,
        parts.thermostat.because,
        timers=parts.timers.of,
        keep_policy=parts.settings.keep_policy.value,
    )
    uploads = Uploads(kept.artifacts, kept.work_dir, size_bytes_max=parts.settings.artifact_bytes_max)
    doctor = Doctor(
        state_dir=parts.settings.state_dir,
        pool=parts.pool,
        routes=parts.routes,
        ping_store=lambda: kept.store.deployments.all(PROJECT),
        troubles=kept.troubles,
        standing=parts.thermostat.standing,
        weighed_by=parts.engine.weighed_by,
    )
    house = HouseVerbs(
        keys=parts.keys,
        statements=Statements(kept.ledger),
        views=views,
        routes=parts.routes,
        doctor=doctor,
        clock=clock,
    )
    verbs = (
        DeploymentVerbs(parts.deployments, parts.aliasing, uploads, views, kept.logs),
        AliasVerbs(parts.aliasing),
        TemperatureVerbs(parts.deployments, parts.pool, parts.routes, views),
        RunVerbs(parts.runner, kept.store.runs),
        ModelVerbs(parts.registry, parts.deployments),
        RunRecordVerbs(kept.store.runs, parts.curves, kept.run_records, kept.logs, parts.forgetting.forget),
        DatasetVerbs(shelf),
        DeadLetterVerbs(parts.queue, kept.store.dead_letters, parts.routes),
        WebhookVerbs(parts.webhooks),
        TimerVerbs(parts.timers, parts.routes),
        house,
    )
    return control_app([o for group in verbs for o in group.operations()], version=__version__)


def _shelf(parts: Parts, clock: SystemClock) -> Shelf:
    kept = parts.kept

    return Shelf(
        kept.store.datasets,
        kept.dataset_files,
        Uploads(kept.dataset_files, kept.work_dir, size_bytes_max=parts.settings.dataset_bytes_max),
        clock,
        needed=kept.store.datasets.digests,
        added=OnData(parts.routes, parts.runner.start).added,
    )
