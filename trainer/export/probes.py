"""Messages of our own wording whose scores a bundle records.

A runtime that computes them otherwise is found out when the bundle is opened (`filterd.scoring.engine`). They
say nothing about how good a model is.
"""

from filterd.api import Kind

# Beginnings of those that are spam; the others are ham.
SPAM = ("WINNER!", "Deine Lieferung", "From: Pharmacy", "From: Mr. Ibrahim")

MESSAGES: tuple[tuple[Kind, str], ...] = (
    (Kind.SMS, "Running ten minutes late, order me a coffee please"),
    (Kind.SMS, "WINNER! Your number was drawn for a 900 pound prize. Call 09060000000 now, 150p a minute"),
    (Kind.SMS, "Deine Lieferung wird zurückgehalten, bezahle 1,99 € Zoll: http://paket-zoll.example/x7"),
    (Kind.SMS, "On se retrouve devant la gare à 19 h ? Je prends les billets"),
    (Kind.SMS, "ok"),
    (Kind.SMS, "Tu código de verificación es 481 920. No lo compartas con nadie."),
    (
        Kind.MAIL,
        "From: Marta <marta@example.org>\nTo: team@example.org\nSubject: Minutes of Tuesday\n\n"
        "Hello all,\n\nattached are the minutes. Two points are still open: the budget for the second\n"
        "quarter and who takes over the hosting. Please answer until Friday.\n\nMarta\n",
    ),
    (
        Kind.MAIL,
        "From: Pharmacy <deals@example.com>\nTo: you@example.org\n"
        "Subject: 80% OFF all pills, no prescription\n\n"
        "Buy now and save!!! Viagra, Cialis, Xanax shipped overnight. Click http://pills.example/buy\n"
        "To be removed reply with REMOVE in the subject.\n",
    ),
    (
        Kind.MAIL,
        "From: Mr. Ibrahim <transfer@example.net>\nTo: undisclosed-recipients:;\n"
        "Subject: Confidential business proposal\n\nDear friend,\n\nI am the personal attorney of a late"
        " client who left the sum of US$ 14,500,000\nin our bank without next of kin. Kindly send your"
        " full name and account number\nso that we may share it.\n",
    ),
    (
        Kind.MAIL,
        "From: Jonas <jonas@example.de>\nTo: Eva <eva@example.de>\n"
        "Subject: =?utf-8?Q?R=C3=BCckfrage?= zum Vertrag\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        "Liebe Eva,\n\nauf Seite 3 fehlt noch die Kündigungsfrist. Magst du das bis morgen ergänzen?\n\n"
        "Gruß, Jonas\n",
    ),
    (
        Kind.MAIL,
        "From: News <news@example.com>\nTo: you@example.org\nSubject: Your weekly digest\nMIME-Version: 1.0\n"
        "Content-Type: text/html; charset=utf-8\n\n<html><body><h1>This week</h1><p>Five articles that other"
        ' readers liked.</p><p><a href="http://news.example/u">Unsubscribe</a></p></body></html>\n',
    ),
    (
        Kind.MAIL,
        "From: dev-list@example.org\nTo: dev-list@example.org\n"
        "Subject: Re: [dev] patch for the build on 64 bit\n\n"
        "> Does it compile with the old headers?\n\nYes, but you need the flag from the README. I attached a"
        " diff against\nthe last release; tests pass here.\n",
    ),
)


def is_spam(content: str) -> bool | None:
    """What a probe is; None where it is none of ours."""
    return content.startswith(SPAM) if any(content == ours for _, ours in MESSAGES) else None
