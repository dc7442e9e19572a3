"""Events as clients make them."""

import datetime
import uuid

UTC = datetime.timezone.utc


def iso(moment):
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now(**back):
    return iso(datetime.datetime.now(UTC) - datetime.timedelta(**back))


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def unique(prefix="site"):
    return "%s-%s" % (prefix, uuid.uuid4().hex[:10])


def reading(site, **fields):
    return {"site_id": site, "device_id": "meter-7", "power_reading": 1500.5, "timestamp": now(), **fields}


def cloudevent_headers(**more):
    return {"ce_specversion": "1.0", "ce_id": "order 7", "ce_source": "/tests", "ce_type": "millrace.v1.Log", **more}
