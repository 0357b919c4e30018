# Configuration of sushy-emulator for tests. What it lacks of a BMC that one can buy is added here: an AssetTag
# with an ETag, kept in memory. The first lines are written by sushy.rs.
import json
import random
import sys
import threading

if QUICK:
    random.randint = lambda low, high: 1

app = sys.modules["sushy_tools.emulator.main"].app
app.logger.setLevel("INFO")

if ASSET_TAGS:
    import flask

    lock = threading.Lock()
    tags = {}

    def system_of(request):
        parts = request.path.strip("/").split("/")
        return parts[3] if len(parts) == 4 and parts[2] == "Systems" else None

    @app.before_request
    def write_tag():
        system = system_of(flask.request)
        if flask.request.method != "PATCH" or system is None:
            return None
        with lock:
            version, _ = tags.get(system, (0, None))
            wanted = flask.request.headers.get("If-Match")
            if wanted not in (None, '"%d"' % version):
                return flask.Response('{"error": {"message": "it has changed"}}', 412)
            if "AssetTag" not in flask.request.json:
                return None
            tags[system] = (version + 1, flask.request.json["AssetTag"])
        return flask.Response("", 204)

    @app.after_request
    def show_tag(response):
        system = system_of(flask.request)
        if flask.request.method == "GET" and system is not None and response.status_code == 200:
            version, tag = tags.get(system, (0, None))
            resource = json.loads(response.get_data())
            resource["AssetTag"] = tag
            response.set_data(json.dumps(resource))
            response.headers["ETag"] = '"%d"' % version
        return response
