"""Everyday messages of our own wording, which a retrained model has to label as well as the old one did.

Half of them are trained on, like any rehearsal data; the gate asks the other half
(`trainer.retraining.gate.kept`), whose words are others, so that no model is admitted for having learned them
by heart. They matter most where a site has no rehearsal data: corrections are the old model's errors and
nearly all of one class, and a model that only sees those may call everything spam that it was unsure of.
"""

from typing import NamedTuple

from filterd.api import Kind


class Anchor(NamedTuple):
    """One message as canonical text. asked: by the gate; the others are trained on."""

    kind: Kind
    text: str
    is_spam: bool
    asked: bool


_HAM_SMS = (
    "Are you still coming tonight?",
    "Call me when you are out of the meeting.",
    "Happy birthday! Have a lovely day",
    "The plumber can only come on Thursday.",
    "Kommst du noch beim Bäcker vorbei?",
    "Bin um sechs am Bahnhof, soll ich Brot mitbringen?",
    "Je suis dans le train, j'arrive vers huit heures.",
    "On mange ensemble demain midi ?",
    "Llego tarde, empezad sin mí.",
    "¿Has visto mis llaves en casa?",
    "Your parcel is at the desk on the second floor.",
    "Your code for signing in is 204 918.",
    "Dinner is in the oven, help yourself.",
    "Lost my phone, write to this number please",
)
_SPAM_SMS = (
    "CONGRATULATIONS you have been selected for a cash award of 2000 pounds. Call 09050001122",
    "FREE entry to win a holiday! Text WIN to 80123, 1.50 per msg",
    "Cheap loans, no questions asked, apply within the hour at http://loan.example",
    "URGENT! Your mobile number won a 1000 prize, claim code K52, call 08700002233 now",
)
_SMS_ENDS = ("", "Thanks a lot!", "See you soon")
_HAM_MAIL = (
    ("Re: figures for March", "I have put the corrected table on the share. Column four was off by one."),
    ("Invoice 20418", "Please find our invoice for the repair of the boiler. Payment is due in 30 days."),
    ("Minutes", "We agreed to move the review to the ninth. Ines brings samples, Tom asks for a quote."),
    (
        "[users] Re: build fails",
        "> make: *** no rule for target\nYou need the newer toolchain; see the wiki.",
    ),
    ("Wohnung", "Der Vermieter hat zugesagt, wir holen am Samstag den Schlüssel. Bringst du den Bus mit?"),
    ("Angebot Heizung", "Anbei unser Angebot für die Wartung. Bei Fragen rufen Sie mich gern vormittags an."),
    ("Réunion de jeudi", "La salle du deuxième est réservée. Pouvez-vous relire le compte rendu avant ?"),
    ("Vacances", "Nous avons trouvé un gîte près de la mer pour la deuxième semaine d'août. Ça vous va ?"),
    ("Informe trimestral", "Te mando el borrador. Falta el gráfico de ventas de la página siete."),
    ("Your order has been shipped", "Your two books left our warehouse today and arrive by Friday."),
    (
        "Newsletter of the choir",
        "The summer concert is on the last Sunday in June. Rehearsals start at seven.",
    ),
    ("Password changed", "The password of your account was changed. If it was you there is nothing to do."),
)
_SPAM_MAIL = (
    ("LOSE WEIGHT FAST", "Doctors hate this trick. Order now, two months free, no prescription needed!!!"),
    ("Urgent assistance", "I contact you in confidence to transfer the sum of nine million dollars abroad."),
    ("Replica watches", "Top brands at 80% off, shipped worldwide. Visit http://watches.example today only."),
    ("You have won", "Your address was drawn in our lottery. Send your bank details to claim the prize."),
)
_MAIL_ENDS = ("", "Regards, Paula", "Viele Grüße, Jan")


def _sms(bodies: tuple[str, ...], is_spam: bool) -> list[Anchor]:
    return [
        Anchor(Kind.SMS, f"{body} {end}".strip(), is_spam, i % 2 == 1)
        for i, body in enumerate(bodies)
        for end in _SMS_ENDS
    ]


def _mail(mails: tuple[tuple[str, str], ...], is_spam: bool) -> list[Anchor]:
    return [
        Anchor(Kind.MAIL, f"{subject}\n\n{body}\n\n{end}".strip(), is_spam, i % 2 == 1)
        for i, (subject, body) in enumerate(mails)
        for end in _MAIL_ENDS
    ]


MESSAGES = (
    *_sms(_HAM_SMS, is_spam=False),
    *_sms(_SPAM_SMS, is_spam=True),
    *_mail(_HAM_MAIL, is_spam=False),
    *_mail(_SPAM_MAIL, is_spam=True),
)
