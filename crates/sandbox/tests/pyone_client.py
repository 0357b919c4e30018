"""The official Python binding against a sandbox: python3 pyone_client.py ENDPOINT VERSION.

The session stands on standard input. Ends with "all good" or with a traceback.
"""

import sys
import time

import pyone

endpoint, version = sys.argv[1], sys.argv[2]
session = sys.stdin.readline().strip()
one = pyone.OneServer(endpoint, session=session)


def fails(kind, call, *params):
    try:
        call(*params)
    except kind as error:
        return str(error)
    raise AssertionError(f"{call} {params} did not raise {kind}")


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


assert one.system.version() == version

# Clusters, hosts.
cluster = one.cluster.allocate("edge")
assert cluster == 100
one.cluster.update(cluster, 'NOTE = "a & b"\nPROVISION = [ PROVISION_ID = "x" ]', 1)
info = one.cluster.info(cluster)
assert info.NAME == "edge" and info.TEMPLATE["NOTE"] == "a & b", info.TEMPLATE
assert info.TEMPLATE["PROVISION"]["PROVISION_ID"] == "x"
one.cluster.rename(cluster, "edge2")
assert [c.NAME for c in one.clusterpool.info().CLUSTER] == ["edge2", "default"]
fails(pyone.OneException, one.cluster.allocate, "edge2")

host = one.host.allocate("node-1", "kvm", "kvm", cluster)
one.host.status(host, 2)
# pyone writes a dict as XML.
one.host.update(host, {"TEMPLATE": {"NOTE": "tail\\", "PROVISION": {"PLAN": "a]b\"c"}}}, 1)
info = one.host.info(host)
assert (info.NAME, info.STATE, info.CLUSTER_ID, info.IM_MAD) == ("node-1", 8, cluster, "kvm")
assert info.TEMPLATE["NOTE"] == "tail\\" and info.TEMPLATE["PROVISION"]["PLAN"] == 'a]b"c'
one.host.rename(host, "10.0.0.1")
other = one.host.allocate("node-2", "kvm", "kvm", -1)
text = fails(pyone.OneActionException, one.host.rename, other, "10.0.0.1")
assert "collides with host 0" in text, text
one.host.status(host, 0)
until(lambda: one.host.info(host).STATE == 2)
assert [h.ID for h in one.hostpool.info().HOST] == [other, host]
assert one.cluster.info(cluster).HOSTS.ID == [host]
fails(pyone.OneNoExistsException, one.host.info, 999)
fails(pyone.OneInternalException, one.host.update, host, "=== nonsense", 1)
fails(pyone.OneActionException, one.cluster.delete, cluster)
one.cluster.addhost(cluster, other)
one.cluster.delhost(cluster, other)

# Datastores, images.
store = one.datastore.allocate('NAME = "ds"\nDS_MAD = "fs"\nTM_MAD = "ssh"', cluster)
one.datastore.rename(store, "ds2")
one.datastore.update(store, 'NOTE = "n"', 1)
info = one.datastore.info(store)
assert (info.NAME, info.TM_MAD, info.CLUSTERS.ID) == ("ds2", "ssh", [cluster])
assert len(one.datastorepool.info().DATASTORE) == 4
fails(pyone.OneInternalException, one.datastore.allocate, 'NAME = "x"\nDS_MAD = "fs"', 0)
images = []


def takes_images():
    """A new datastore has no room until its driver has told how much there is."""
    try:
        images.append(one.image.allocate('NAME = "img"\nSIZE = "8"\nTYPE = "DATABLOCK"', store))
    except pyone.OneActionException:
        pass
    return images


until(takes_images)
image = images[0]
until(lambda: one.image.info(image).STATE == 1)
one.image.rename(image, "img2")
one.image.update(image, 'NOTE = "n"', 1)
one.image.persistent(image, True)
assert one.image.info(image).PERSISTENT == 1
assert one.datastore.info(store).IMAGES.ID == [image]
fails(pyone.OneActionException, one.datastore.delete, store)
assert [i.NAME for i in one.imagepool.info(-2, -1, -1).IMAGE] == ["img2"]

# Networks.
net = one.vn.allocate(
    'NAME = "net"\nVN_MAD = "bridge"\nAR = [ TYPE = "IP4", IP = "10.0.0.2", SIZE = "5" ]', cluster
)
until(lambda: one.vn.info(net).STATE == 1)
one.vn.rename(net, "net2")
info = one.vn.info(net)
assert info.NAME == "net2" and info.AR_POOL.AR[0].IP_END == "10.0.0.6"
assert [n.NAME for n in one.vnpool.info(-2, -1, -1).VNET] == ["net2"]
one.vn.delete(net)
until(lambda: not one.vnpool.info(-2, -1, -1).VNET)
fails(pyone.OneNoExistsException, one.vn.info, net)

# Templates, documents.
template = one.template.allocate({"TEMPLATE": {"NAME": "tpl", "CPU": "1", "MEMORY": "128"}})
one.template.update(template, 'NOTE = "n"', 1)
one.template.rename(template, "tpl2")
assert one.template.info(template).TEMPLATE["NOTE"] == "n"
assert [t.NAME for t in one.templatepool.info(-2, -1, -1).VMTEMPLATE] == ["tpl2"]
one.template.delete(template)
vnt = one.vntemplate.allocate('NAME = "vnt"\nVN_MAD = "bridge"')
one.vntemplate.rename(vnt, "vnt2")
assert one.vntemplate.info(vnt).NAME == "vnt2"
assert [t.NAME for t in one.vntemplatepool.info(-2, -1, -1).VNTEMPLATE] == ["vnt2"]
one.vntemplate.delete(vnt)
doc = one.document.allocate('NAME = "doc"\nPROVISION_BODY = "{\\"a\\": 1}"', 4242)
assert one.document.info(doc).TEMPLATE["PROVISION_BODY"] != '{"a": 1}'
assert one.document.info(doc, True).TEMPLATE["PROVISION_BODY"] == '{"a": 1}'
one.document.rename(doc, "doc2")
assert [d.NAME for d in one.documentpool.info(-2, -1, -1, 4242).DOCUMENT] == ["doc2"]
one.document.delete(doc)
fails(pyone.OneNoExistsException, one.document.info, doc)

# VMs hold their host.
vm = one.vm.allocate('NAME = "vm"\nCPU = "0.5"\nMEMORY = "64"')
one.vm.deploy(vm, other)
assert one.vm.info(vm).STATE == 3
assert one.host.info(other).VMS.ID == [vm]
fails(pyone.OneActionException, one.host.delete, other)
assert [v.ID for v in one.vmpool.info(-2, -1, -1, -1).VM] == [vm]
one.vm.action("terminate-hard", vm)
assert not one.vmpool.info(-2, -1, -1, -1).VM
one.host.delete(other)

# Users and permissions.
user = one.user.allocate("alice", "pw", "", [])
assert one.user.info(-1).NAME == "oneadmin"
assert {u.NAME for u in one.userpool.info().USER} == {"oneadmin", "serveradmin", "alice"}
assert {g.NAME for g in one.grouppool.info().GROUP} == {"oneadmin", "users"}
assert one.group.info(1).NAME == "users"
alice = pyone.OneServer(endpoint, session="alice:pw")
fails(pyone.OneAuthenticationException, pyone.OneServer(endpoint, session="alice:x").system.version)
text = fails(pyone.OneAuthorizationException, alice.host.info, host)
assert f"User [{user}] : Not authorized to perform USE HOST [{host}]" in text, text
fails(pyone.OneAuthorizationException, alice.cluster.allocate, "c")
fails(pyone.OneAuthorizationException, alice.image.info, image)
one.image.chmod(image, -1, -1, -1, -1, -1, -1, 1, 0, 0)
assert alice.image.info(image).NAME == "img2"
fails(pyone.OneAuthorizationException, alice.image.rename, image, "mine")
one.image.chown(image, user, 1)
alice.image.rename(image, "mine")
assert one.image.info(image).UNAME == "alice"
fails(pyone.OneNoExistsException, one.image.chown, image, 9999, -1)
mine = alice.template.allocate('NAME = "mine"\nMEMORY = "1"')
assert [t.NAME for t in alice.templatepool.info(-3, -1, -1).VMTEMPLATE] == ["mine"]

# What a tool asks at the beginning, and the end.
assert "PROVISION_BODY" in str(one.system.config())
assert not one.marketapppool.info(-2, -1, -1).MARKETPLACEAPP
assert one.zonepool.info().ZONE[0].NAME == "OpenNebula"
one.image.delete(image)
until(lambda: not one.imagepool.info(-2, -1, -1).IMAGE)
one.datastore.delete(store)
one.host.delete(host)
one.cluster.delete(cluster)
fails(pyone.OneNoExistsException, one.cluster.info, cluster)
print("all good")
