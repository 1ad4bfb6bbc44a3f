"""Stock PyKMIP works with a running keyreeve, in one protocol version.

usage: pykmip_client.py HOST PORT CERTS VERSION
CERTS is the folder with ca.pem, dev.pem and dev-key.pem; VERSION is 1.0 ... 2.0.
Prints one line per step and "ok VERSION" at the end; any surprise is a traceback.
"""
import sys
import time

from kmip.core import enums
from kmip.pie import client, exceptions, objects

host, port, certs, version = sys.argv[1:5]
kmip_version = getattr(enums.KMIPVersion, "KMIP_" + version.replace(".", "_"))
can_encrypt = kmip_version.value >= enums.KMIPVersion.KMIP_1_2.value
M = enums.CryptographicUsageMask
name = "pykmip %s %f" % (version, time.time())


def step(what):
    print(what, flush=True)


def expect_refusal(reason, call):
    try:
        call()
    except exceptions.KmipOperationFailure as e:
        assert e.reason == reason, "refused with %s, not %s: %s" % (e.reason, reason, e)
        return
    raise AssertionError("was not refused with %s" % reason)


with client.ProxyKmipClient(hostname=host, port=int(port), cert=certs + "/dev.pem", key=certs + "/dev-key.pem",
                            ca=certs + "/ca.pem", ssl_version="PROTOCOL_SSLv23",
                            kmip_version=kmip_version) as c:
    key = c.create(enums.CryptographicAlgorithm.AES, 256, name=name, cryptographic_usage_mask=[M.ENCRYPT, M.DECRYPT])
    step("create %s" % key)

    got = c.get(key)
    assert isinstance(got, objects.SymmetricKey) and len(got.value) == 32, got
    step("get")

    from kmip.core.factories.attributes import AttributeFactory
    by_name = AttributeFactory().create_attribute(enums.AttributeType.NAME, name)
    assert c.locate(attributes=[by_name]) == [key]
    step("locate")

    names = c.get_attribute_list(key)
    assert "Cryptographic Algorithm" in names and "State" in names, names
    _, attributes = c.get_attributes(key, ["State", "Cryptographic Length"])
    assert len(attributes) == 2, attributes
    step("attributes")

    c.activate(key)
    parameters = {"block_cipher_mode": enums.BlockCipherMode.CBC, "padding_method": enums.PaddingMethod.PKCS5,
                  "cryptographic_algorithm": enums.CryptographicAlgorithm.AES}
    text, iv = b"sixteen is enough", b"\x01" * 16
    if can_encrypt:
        sealed, _ = c.encrypt(text, uid=key, cryptographic_parameters=parameters, iv_counter_nonce=iv)
        assert sealed != text
        assert c.decrypt(sealed, uid=key, cryptographic_parameters=parameters, iv_counter_nonce=iv) == text
        step("encrypt, decrypt")
    else:
        expect_refusal(enums.ResultReason.OPERATION_NOT_SUPPORTED,
                       lambda: c.encrypt(text, uid=key, cryptographic_parameters=parameters, iv_counter_nonce=iv))
        step("encrypt refused: not in KMIP %s" % version)

    public, private = c.create_key_pair(enums.CryptographicAlgorithm.RSA, 2048, public_name=name + " public",
                                        private_name=name + " private", public_usage_mask=[M.VERIFY],
                                        private_usage_mask=[M.SIGN])
    c.activate(public)
    c.activate(private)
    signing = {"padding_method": enums.PaddingMethod.PSS, "hashing_algorithm": enums.HashingAlgorithm.SHA_256,
               "cryptographic_algorithm": enums.CryptographicAlgorithm.RSA}
    if can_encrypt:
        signature = c.sign(text, uid=private, cryptographic_parameters=signing)
        good = c.signature_verify(text, signature, uid=public, cryptographic_parameters=signing)
        bad = c.signature_verify(b"another text", signature, uid=public, cryptographic_parameters=signing)
        assert good == enums.ValidityIndicator.VALID and bad == enums.ValidityIndicator.INVALID, (good, bad)
        step("sign, verify")

    secret = c.register(objects.SecretData(b"correct horse", enums.SecretDataType.PASSWORD, masks=[M.VERIFY]))
    assert c.get(secret).value == b"correct horse"
    opaque = c.register(objects.OpaqueObject(b"\x00\xff" * 40, enums.OpaqueDataType.NONE))
    assert c.get(opaque).value == b"\x00\xff" * 40
    step("register, get")

    expect_refusal(enums.ResultReason.PERMISSION_DENIED if kmip_version.value < 2 else
                   enums.ResultReason.WRONG_KEY_LIFECYCLE_STATE, lambda: c.destroy(key))
    for uid in (key, public, private):
        c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, uid)
    for uid in (key, public, private, secret, opaque):
        c.destroy(uid)
    assert c.locate(attributes=[by_name]) == []
    expect_refusal(enums.ResultReason.ITEM_NOT_FOUND if kmip_version.value < 2 else
                   enums.ResultReason.OBJECT_NOT_FOUND, lambda: c.get("no-such-object"))
    step("revoke, destroy")

print("ok", version)
