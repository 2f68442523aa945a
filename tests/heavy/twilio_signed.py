"""Callbacks as Twilio sends them, right ones and altered ones, signed by Twilio's own library: a JSON line for each.

Arguments: how many, the seed, and the tokens of each account as ACCOUNT=TOKEN,TOKEN.
"""

import base64
import copy
import json
import random
import sys
from urllib.parse import urlencode, urlparse

from twilio.request_validator import RequestValidator, add_port, remove_port

HOSTS = ["calls.example", "Calls.Example", "calls.example:8443", "calls.example:443", "10.1.2.3", "a-b.c.example:80"]
QUERIES = ["", "&name=O'Neil", "&a=%7e~&b=x+y%20z", "&&c", "&d=%C3%A4", "&e=[1]&f=(2)", "&g==h;i", "&j=%2F%2f/", "&k=!*,@:"]
WORDS = ["", "a", "Ä", "日本", "+14158675309", "a b", "=&%", "\n", "🎙", "z" * 200, "'\"<>", "0", "null"]
STATUSES = ["in-progress", "processing", "paused", "stopped"]
WEBHOOK = "/webhooks/twilio/recording?business_id=42"


class Form(dict):
    """Several values of one name, as Django has them."""

    def getlist(self, name):
        return self[name]


def fields(chance, account):
    form = Form({"AccountSid": [account], "RecordingStatus": [chance.choice(STATUSES)]})
    for _ in range(chance.randrange(8)):
        name = chance.choice(["CallSid", "From", "To", "a", "A", "Ä", "x y", "a=b", "caller", "Caller"])
        form[name] = [chance.choice(WORDS) for _ in range(chance.randrange(1, 4))]
    return form


def make(chance, accounts):
    account = chance.choice(sorted(accounts))
    secret = chance.choice(accounts[account])
    validator = RequestValidator(secret)
    algorithm = chance.choice([None, None, "HMAC_SHA1", "HMAC_SHA256"])
    scheme, host = chance.choice(["http", "https"]), chance.choice(HOSTS)
    target = WEBHOOK + chance.choice(QUERIES) + chance.choice(QUERIES)
    headers = {}
    if chance.random() < 0.3:
        body = json.dumps({**{name: values[0] for name, values in fields(chance, account).items()}, "n": 7, "deep": [{}]})
        target += "&bodySHA256=" + validator.compute_hash(body)
        signed, content_type = body, "application/json"
    else:
        signed = fields(chance, account)
        body = urlencode([(name, value) for name, values in signed.items() for value in values])
        content_type = "application/x-www-form-urlencoded"
    url, user = f"{scheme}://{host}{target}", None
    if chance.random() < 0.2:
        user = chance.choice(["me:Secret", "a:b-c_d.~"])
        told = f"{scheme}://{user}@{host}{target}"
    else:
        # With a port or without, as its servers do it sometimes one way and sometimes the other.
        told = chance.choice([url, add_port(urlparse(url)), remove_port(urlparse(url))])
    signature = validator.compute_signature(told, {} if isinstance(signed, str) else signed, algorithm)
    if user is None:
        assert validator.validate(url, signed, signature, algorithm), url
    else:
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    if algorithm is not None:
        headers["X-Twilio-Webhooks-Signature-Settings"] = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
    headers |= {"X-Twilio-Signature": signature, "Content-Type": content_type}
    return {"scheme": scheme, "host": host, "target": target, "headers": headers, "body": body, "right": True,
            "what": "right", "account": account, "algorithm": algorithm, "user": user}


def alter(chance, request, accounts):
    altered = copy.deepcopy(request)
    headers, body = altered["headers"], altered["body"]
    is_json = headers["Content-Type"] == "application/json"

    def flipped():
        signature = bytearray(base64.b64decode(headers["X-Twilio-Signature"]))
        signature[chance.randrange(len(signature))] ^= 1 << chance.randrange(8)
        headers["X-Twilio-Signature"] = base64.b64encode(bytes(signature)).decode()

    def cut():
        headers["X-Twilio-Signature"] = headers["X-Twilio-Signature"][:-4]

    def another_query():
        altered["target"] = altered["target"].replace("business_id=42", "business_id=43")

    def another_host():
        altered["host"] = "x" + altered["host"]

    def another_scheme():
        altered["scheme"] = "http" if altered["scheme"] == "https" else "https"

    def a_field_more():
        altered["body"] = json.dumps({**json.loads(body), "more": "1"}) if is_json else body + "&more=1"

    def another_value():
        altered["body"] = body.replace("RecordingStatus", "RecordingStatuz")

    def another_account():
        other = next(account for account in sorted(accounts) if account != altered["account"])
        altered["body"] = body.replace(altered["account"], other)

    def no_such_account():
        altered["body"] = body.replace(altered["account"], "AC9")

    def another_algorithm():
        other = "HMAC_SHA1" if altered["algorithm"] == "HMAC_SHA256" else "HMAC_SHA256"
        headers["X-Twilio-Webhooks-Signature-Settings"] = f"algorithm={other}"

    def no_signature():
        del headers["X-Twilio-Signature"]

    how = [flipped, cut, another_query, another_host, another_scheme, a_field_more, another_value, another_account,
           no_such_account, another_algorithm, no_signature]
    how = chance.choice(how)
    how()
    return altered | {"right": False, "what": how.__name__}


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    accounts = {account: tokens.split(",") for account, tokens in (word.split("=", 1) for word in sys.argv[3:])}
    chance = random.Random(seed)
    for _ in range(count // 2):
        request = make(chance, accounts)
        for one in (request, alter(chance, request, accounts)):
            print(json.dumps(one))


main()
