"""Spoken commands to the conversation itself: stop, wait, go on, say it again.

An utterance is a command only if it is nothing else, apart from polite words and fillers: "stop the music at ten" is
for the model. It must also fit the situation: "go on" is a command only if a response was interrupted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import regex

Command = Literal["stop", "wait", "go_on", "again"]

_A_WHILE = r"(?:(?:for )?(?:just )?(?:a|one|another) (?:second|sec|minute|min|moment|bit|little bit|tick)|a while)"

_PHRASES: dict[Command, str] = {
    "stop": r"""
(?:you can |you may |can you |could you |would you |i want you to |i said )?(?:just )?
(?:stop(?: it| that| there| here| now| right there| right now| talking| speaking| reading)?|be quiet|be silent
|keep quiet|shut up|hush|shush)
|(?:that is|it is|i have heard|i have had) (?:quite )?enough|enough(?: of that| of this| already)?|that will do
|that is (?:all|it) (?:for now|thank you|thanks)|quiet|silence|never ?mind(?: that)?|forget (?:it|that|about it)
|cancel(?: that| it)?
|leave it(?: there| at that)?|do not (?:continue|go on|bother)|you do not (?:have|need) to (?:continue|go on)
|stopp|halt|hor auf(?: damit)?|(?:das|es) reicht|genug|sei (?:bitte )?(?:still|ruhig|leise)|ruhe|schluss(?: jetzt)?
|vergiss es|egal|schon gut
|arrete(?:z)?(?: toi| vous)?|ca suffit|assez|tais toi|taisez vous|laisse tomber|tant pis|ca ira
|para(?: ya)?|pare|basta(?: ya)?|ya basta|ya esta|detente|callate|silencio|olvidalo|dejalo|da igual
|fermati|ferma|smettila|stai zitt[oa]|zitt[oa]|lascia (?:stare|perdere)|basta cosi|non importa
|chega|pare?(?: com isso)?|cala a boca|cale se|silencio|esquece|esqueca|deixa (?:pra la|para la)|tanto faz
|रुक जाओ|रुक जाइए|बस(?: करो| कीजिए)?|चुप(?: रहो| हो जाओ| रहिए)?|रहने (?:दो|दीजिए)|बंद करो|छोड़ो
|(?:もう)?(?:やめて|止めて|とめて|ストップ|いいです|いいよ|結構です)(?:ください)?|静かに(?:して)?(?:ください)?|黙って
|停(?:下(?:来)?|一下)?|别说了|不要说了|够了|行了|安静(?:一点)?|闭嘴|算了|不用说了
""",
    "wait": rf"""
(?:can you |could you |would you |you have to )?(?:just )?(?:wait|hold on|hang on|hold up)(?: up
| for me)?(?: {_A_WHILE})?
|hold it|hold that thought|pause|(?:just )?(?:one|a) (?:quick )?(?:moment|second|sec)|(?:just a|just one
|one) (?:minute|min)
|give me {_A_WHILE}(?: to think)?|give me some time|bear with me|do not answer yet
|let me (?:just )?(?:think|see)(?: {_A_WHILE})?(?: about (?:it|that|this))?(?: {_A_WHILE})?|i am (?:still )?thinking
|i (?:just )?need {_A_WHILE}(?: to think)?|i need to think(?: about (?:it|that))?
|warte(?:n sie)?(?: mal| kurz| bitte| noch| eben)*(?: einen moment)?|(?:einen )?(?:kleinen )?(?:moment|augenblick
|sekunde)(?: mal| bitte| noch)?
|eine sekunde|lass mich (?:mal |kurz |bitte )*(?:nachdenken|uberlegen|sehen)
|attend(?:s|ez)(?: un peu| un instant| un moment| une minute| une seconde| deux secondes)?|un instant|une seconde
|deux secondes
|laisse(?:z)? moi (?:reflechir|voir)(?: un peu| un instant)?
|espera(?: un poco| un momento| un segundo| un minuto)?|espere(?: un momento)?|un moment(?:o|ito)|un segundo
|dejame (?:pensar|ver)(?: un momento)?
|aspetta(?: un (?:attimo|momento|secondo|po))?|aspetti(?: un (?:attimo|momento))?|un attimo|un momento
|fammi (?:pensare|vedere)
|espera(?: ai| um (?:pouco|momento|segundo|minuto|instante|pouquinho))?|espere(?: um momento)?
|um (?:momento|momentinho|segundo|minuto|instante)|pera(?: ai)?|deixa eu (?:pensar|ver)|deixe me (?:pensar|ver)
|रुको(?: एक (?:मिनट|सेकंड))?|रुकिए|ठहरो|ठहरिए|एक (?:मिनट|सेकंड|पल)|ज़रा रुको|मुझे सोचने दो
|(?:ちょっと|少々|少し)?(?:待って|まって|お待ち)(?:ください|くださいね|ね)?|ちょっと(?:考えさせて)?
|等(?:等|一下|一等|一会儿|会儿)|稍等(?:一下)?|请?稍等|让我(?:想想|想一想|看看)
""",
    "go_on": r"""
(?:you can |you may |can you |could you |would you )?(?:please )?(?:just )?(?:do )?
(?:go on|go ahead|continue|carry on|keep going|keep talking|keep reading|keep on|proceed|resume|finish(?: it| that
| your (?:sentence|answer|story|thought))?)
(?: talking| speaking| reading| with (?:it|that|the story|your answer)| from there| where you (?:left off|stopped
| were))?
|(?:as )?you were saying|what were you (?:saying|going to say|about to say)|where were (?:we|you)
|finish what you were saying|do not stop
|i interrupted you|i did not mean to interrupt(?: you)?|i am listening|tell me the rest|(?:and )?then what
|what (?:comes )?next
|(?:bitte )?weiter|mach(?:e|en sie)? (?:bitte |ruhig )?weiter|(?:sprich|red|rede|erzahl|erzahle|lies)
 (?:bitte |ruhig )?weiter|fahr(?:e|en sie)? (?:bitte )?fort
|wo waren wir|was wolltest du sagen
|continue(?:z)?|vas y|allez y|poursuis|poursuivez|la suite|tu disais|vous disiez|que disais tu|ou en etions nous
|sigue(?: hablando| por favor)?|siga|continua|continue|prosigue|adelante|que decias|donde estabamos
|continua(?: pure)?|continui|vai avanti|vada avanti|va avanti|prosegui|dove eravamo|cosa stavi dicendo
|continua|continue|prossiga|segue|siga|pode continuar|vai em frente|onde estavamos|o que voce (?:estava )?dizia
|आगे (?:बोलो|बोलिए|बताओ|बताइए|बढ़ो|बढ़िए)|जारी (?:रखो|रखें|रखिए)|बोलते रहो|फिर क्या हुआ
|(?:続けて|つづけて|続き(?:を)?(?:話して|教えて|お願いします)?|それで)(?:ください)?
|继续(?:说|讲)?(?:吧)?|接着(?:说|讲)(?:吧)?|往下说|说下去|然后呢
""",
    "again": r"""
(?:can you |could you |would you |will you |i said )?(?:please )?(?:just )?(?:say|tell me|repeat|read)(?: (?:that|it
|this|all that|that last (?:part|bit)|the last (?:part|bit)))?
(?: for me)? (?:again|once again|once more|one more time|another time)
|(?:can you |could you |would you |will you )?(?:please )?(?:just )?repeat (?:that|it|this|all that
|that last (?:part|bit)|the last (?:part|bit)|yourself)(?: for me)?
|(?:can you |could you |would you |will you )?(?:please )?(?:say again|repeat|come again|say what)|once (?:more
|again)|one more time|again
|(?:i )?beg (?:your )?pardon|pardon me|what (?:did you|have you|did you just|were you) (?:just )?(?:say
|said)(?: (?:just now|again|before))?
|what was (?:that|it)(?: again)?|what is that again|what (?:was|is) the last (?:part|bit)|you said what
|i (?:did not|could not|cannot|can not|can't) (?:quite )?(?:hear|catch|get|understand)(?: (?:you|that|it
|what you said|a word|the last (?:part|bit)|that last (?:part|bit)))?
|did not (?:catch|hear|get) (?:that|you|it)|i missed (?:that|it|what you said|the last (?:part|bit))
|wie bitte|noch ?mal|noch einmal|(?:sag|sage|sagst du|kannst du)(?: mir)? (?:das|es) (?:bitte )?(?:noch ?mal
|noch einmal)(?: sagen| wiederholen)?
|(?:kannst du|konntest du|konnen sie|konnten sie) das (?:bitte )?wiederholen|wiederhol(?:e|en sie)?(?: das
| es)?(?: bitte)?|was hast du (?:gerade |eben )?gesagt
|ich (?:habe|hab) (?:dich|das|sie) (?:leider )?nicht (?:verstanden|gehort)
|repete(?:z)?(?: ca)?|redis(?: le| ca)?|encore une fois|(?:qu est ce que tu|qu as tu|tu as) (?:as )?dit(?: quoi)?
|(?:tu peux|peux tu|vous pouvez|pouvez vous) (?:le )?repeter
|je n ai pas (?:entendu|compris)|je ne t ai pas entendu
|repite(?:lo)?|repita(?:lo)?|otra vez|de nuevo|que (?:has dicho|dijiste|decias|ha dicho)|(?:puedes|podrias
|puede) (?:repetir(?:lo)?|decirlo otra vez)
|dilo otra vez|no te (?:he oido|oi|entendi|he entendido)|no (?:he oido|oi|entendi)
|ripeti(?:lo)?|ripeta|(?:puoi|puo|potresti) ripetere|di nuovo|ancora una volta|un altra volta|come hai detto
|(?:che cosa|cosa) hai detto|non ho (?:capito|sentito)|dillo di nuovo
|repete|repita|(?:pode|podia|poderia|voce pode) repetir|de novo|outra vez|mais uma vez|o que (?:voce )?disse
|nao (?:ouvi|entendi)|fala de novo|diga de novo
|फिर से (?:बोलो|बोलिए|कहो|कहिए|बताओ|बताइए)|दोबारा (?:बोलो|बोलिए|कहो|कहिए|बताओ|बताइए)|दोहराओ|दोहराइए|क्या कहा(?: आपने| तुमने)?
|मैंने नहीं सुना|मुझे समझ नहीं आया
|(?:もう一度|もう一回|もういちど|もういっかい)(?:言って|いって|お願いします|おねがいします|話して)?(?:ください)?
|(?:何て|なんて|何と|今何て)(?:言った|言いました|言ったの|いった)(?:か)?|聞こえませんでした|聞こえなかった|繰り返して(?:ください)?
|(?:请)?(?:再|重新)说(?:一遍|一次|一下)|(?:请)?重复(?:一遍|一次|一下)?|再来一遍|你(?:刚才)?说什么|你(?:刚才)?说了什么
|没听(?:清|清楚|见|懂|到)|我没听(?:清|清楚|见|懂|到)
""",
}

_AGAIN_ALONE_PHRASES = (
    r"sorry|i am sorry|pardon|pardon me|huh|what|say what|excuse me|come again|comment|como|perdon|was|quoi|hein|eh"
    r"|come|come scusa|prego|o que|oi|क्या|え|えっ|はい|何|なに|什么|啊"
)
"""Phrases that mean "again" only if they are the whole utterance."""

_AGAIN_AS_QUESTION = {"i am sorry", "excuse me", "eh", "comment", "como", "was", "come", "prego", "oi", "はい", "啊"}
"""Phrases that mean "again" only if they are the whole utterance and a question."""

_POLITE_PHRASES = r"""
please|okay|ok|o k|all right|alright|right|yes|yeah|yep|yup|no|nope|nah|oh|ah|well|so|now|then|um|umm|uh|uhm|er|hmm
|mm|hey|hi|and|but|sorry|i am sorry|excuse me
|thanks|thank you|thank you very much|thanks a lot|chinwag|assistant|computer|buddy|mate|man|dear|just|actually
|there|again|for now|for me|if you (?:can|could|would|please|do not mind)|will you
|would you|could you|i said|cool|great|good|fine|sure
|bitte|ja|nein|gut|also|ah|ahm|danke|jetzt|doch|mal|na|nun|so
|s il te plait|s il vous plait|oui|non|euh|merci|bon|alors|d accord|allez
|por favor|si|bueno|gracias|vale|pues|ahora|eh
|per favore|per piacere|grazie|va bene|ora|adesso|scusa|scusi
|obrigad[oa]|por gentileza|agora|ta|ta bom|sim|nao|desculpa|ai
|कृपया|प्लीज़|प्लीज|हाँ|हां|नहीं|अच्छा|ठीक है|धन्यवाद|ज़रा|はい|いいえ|うん|あの
|すみません|ごめん|お願いします|请|好|好的|嗯|谢谢|麻烦你
"""

_LONG_FORMS = {
    "that's": "that is",
    "that'll": "that will",
    "it's": "it is",
    "i'm": "i am",
    "i've": "i have",
    "what's": "what is",
    "what're": "what are",
    "didn't": "did not",
    "don't": "do not",
    "couldn't": "could not",
    "can't": "can not",
    "nevermind": "never mind",
    "ok": "okay",
}
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:'[\p{L}\p{M}\p{N}]+)*")
_ACCENTS = re.compile(r"[\u0300-\u036f]")


def _compile(alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{unicodedata.normalize('NFKC', alternatives.replace(chr(10), ''))})(?= |$)")


_COMMANDS = {command: _compile(phrases) for command, phrases in _PHRASES.items()}
_POLITE, _AGAIN_ALONE = _compile(_POLITE_PHRASES), _compile(_AGAIN_ALONE_PHRASES)


def find_command(user_text: str, *, interrupted: bool, spoken: bool) -> Command | None:
    """Return the command that an utterance is, or None if the model should respond to it.

    user_text: the user's words, in English; the plain forms in German, French, Spanish, Italian, Portuguese, Hindi,
    Japanese and Chinese are known too. interrupted: the last response was interrupted, so there is more of it.
    spoken: a response is playing, or was the last thing said.

    "stop": the response ends, and the assistant says nothing. "wait": the assistant is silent until the user speaks
    again. "go_on": the interrupted response resumes at its playout position. "again": the last response is repeated.
    """
    plain = _plain(user_text)
    command = _parse_command(plain, question=user_text.rstrip().endswith("?"))
    if command == "go_on" and not interrupted:
        return "again" if spoken and re.search(r"what were you saying", plain) else None
    if command in ("stop", "again") and not (spoken or interrupted):
        return None
    return command


def _parse_command(plain: str, *, question: bool) -> Command | None:
    """Return the last command in a plain utterance; None if any word is neither a command nor polite."""
    if _AGAIN_ALONE.fullmatch(plain):
        return "again" if question or plain not in _AGAIN_AS_QUESTION else None
    command: Command | None = None
    while plain:
        length, next_command = _longest_phrase(plain)
        if not length:
            return None
        command, plain = next_command or command, plain[length:].lstrip()
    return command


def _longest_phrase(plain: str) -> tuple[int, Command | None]:
    """Return the length of the longest known phrase at the start, and its command; None for a polite phrase."""
    matches: list[tuple[int, Command | None]] = [
        (match.end(), command) for command, phrases in _COMMANDS.items() if (match := phrases.match(plain))
    ]
    if match := _POLITE.match(plain):
        matches.append((match.end(), None))
    return max(matches, key=lambda match: match[0], default=(0, None))


def _plain(text: str) -> str:
    """Return the text in lower case without accents and punctuation, with contractions written out."""
    letters = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    without_accents = unicodedata.normalize("NFKC", _ACCENTS.sub("", letters))
    words = (_LONG_FORMS.get(word, word) for word in _WORD.findall(without_accents))
    return " ".join(" ".join(words).replace("'", " ").split())
