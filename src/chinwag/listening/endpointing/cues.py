"""The words that `form` looks for, by language. All are casefolded and without punctuation."""

from __future__ import annotations

from dataclasses import dataclass

from chinwag.language import normalised_words


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(normalised_words(phrase)) for phrase in text.split(","))


@dataclass(frozen=True, slots=True)
class Cues:
    """What a language has.

    fillers: phrases that hold the floor. dangling: words that no sentence ends with. leaning: words that few end with,
    questions aside. openers: of a clause that needs another. answers: phrases that are whole turns. starts: words that
    a short answer begins with. digits: how digits are said one by one. endings: what hardly anything follows.

    Chinese and Japanese are looked at by characters (see `language.words`).
    """

    fillers: frozenset[tuple[str, ...]]
    dangling: frozenset[str]
    leaning: frozenset[str] = frozenset()
    openers: frozenset[str] = frozenset()
    answers: frozenset[tuple[str, ...]] = frozenset()
    starts: frozenset[str] = frozenset()
    digits: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    auxiliaries: frozenset[str] = frozenset()
    pronouns: frozenset[str] = frozenset()
    endings: frozenset[tuple[str, ...]] = frozenset()


ENGLISH = Cues(
    fillers=_phrases(
        "um,umm,uh,uhh,uhm,er,erm,ehm,hmm,hm,mm,ah,you know,i mean,sort of,kind of,like,so,well,basically,actually,"
        "let me see,let me think,let's see,what's it called,what is it called,how do i say,how shall i say,anyway,"
        "the thing is,you see,or something like"
    ),
    dangling=_set(
        "a an the my your our their its every and or but nor because although though unless whereas than if whether of "
        "into onto towards between among during without via per i we they he she i'm i'll i'd i've we're we'll we'd "
        "we've you're you'll you'd you've they're they'll they've he's she's he'd there's it's that's who's what's "
        "let's until upon some which whose whenever wherever however therefore also very quite mr mrs dr "
        "gonna wanna gotta an' until till as"
    ),
    leaning=_set(
        "to for with from at in on by about like after before over under near behind through against around is are "
        "was were am be been being do does did have has had can could will would shall should may might must don't "
        "doesn't didn't can't couldn't won't wouldn't shouldn't isn't aren't wasn't haven't hasn't this these those "
        "his her what when where why how who that then want wants wanted need needs needed get got give show tell "
        "says said called named just maybe perhaps more most another any no so such only even still next "
        "last going trying thinking looking wondering talking using making taking"
    ),
    openers=_set("if when while although though because since unless after before until whenever once as whereas"),
    answers=_phrases(
        "yes,no,yeah,yep,nope,yup,nah,okay,ok,sure,right,fine,great,good,cool,perfect,exactly,absolutely,definitely,"
        "of course,not really,maybe,hello,hi,hey,good morning,good afternoon,good evening,good night,goodbye,bye,"
        "see you,see you later,thanks,thank you,thank you very much,thanks a lot,no thanks,no thank you,yes please,"
        "i don't know,i think so,i guess so,i hope so,not yet,never mind,that's right,that's all,that's it,stop,wait "
        "a minute,go on,say that again,sounds good,maybe later,how are you,what's that,you're welcome,excuse me,sorry,"
        "what,why,who,where,when,how,really,please do"
    ),
    starts=_set("yes no yeah yep nope okay ok sure right thanks hello hi hey oh ah well alright"),
    digits=_set("zero oh nought one two three four five six seven eight nine double triple hundred"),
    asking=_set("what who whom whose where when why how which what's who's where's how's when's why's"),
    auxiliaries=_set(
        "is are was were am do does did have has had can could will would shall should may might must isn't aren't "
        "wasn't weren't don't doesn't didn't haven't hasn't can't couldn't won't wouldn't shouldn't"
    ),
    pronouns=_set("i you he she it we they there this that these those"),
)

GERMAN = Cues(
    fillers=_phrases(
        "äh,ähm,hm,hmm,also,naja,na ja,tja,sozusagen,quasi,halt,ich meine,wie soll ich sagen,wie heißt das"
    ),
    dangling=_set(
        "der die das den dem des ein eine einen einem einer eines kein keine keinen mein meine meinen meinem meiner "
        "dein deine deinen unser unsere ihr ihre ihren sein seine seinen und oder aber denn weil dass ob wenn als "
        "obwohl damit sondern sowie für ohne gegen von vom zur zum beim ins im am bei nach seit durch wegen während "
        "zwischen über unter neben ich wir er ist sind war hat habe haben wird werden sehr dieser diese dieses welche "
        "welcher möchte würde"
    ),
    leaning=_set("mit auf in an zu bis um vor hinter bin kann muss will soll könnte noch nur auch dann so"),
    answers=_phrases(
        "ja,nein,okay,gut,genau,klar,danke,vielen dank,ja bitte,nein danke,hallo,guten morgen,guten tag,guten abend,"
        "tschüss,auf wiedersehen,weiß ich nicht,ich weiß nicht,keine ahnung,vielleicht,stimmt,richtig,natürlich"
    ),
    digits=_set("null eins ein zwo zwei drei vier fünf sechs sieben acht neun"),
)

FRENCH = Cues(
    fillers=_phrases("euh,heu,ben,bah,hein,alors,donc,enfin,bon,tu sais,vous savez,je veux dire,comment dire,genre"),
    dangling=_set(
        "le la les l un une des du de d au aux mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet "
        "cette ces et ou mais car parce que qu si quand comme lorsque puisque dans sur sous pour par avec sans chez "
        "vers entre à en est sont était a ai je j tu il elle nous on ils elles très trop plus quel quelle qui dont "
        "voudrais veux peux"
    ),
    leaning=_set("pas peut doit fait être avoir suis encore aussi avant après depuis jusque puis"),
    answers=_phrases(
        "oui,non,ouais,d'accord,bien sûr,ok,merci,merci beaucoup,non merci,oui s'il vous plaît,bonjour,bonsoir,salut,"
        "au revoir,je ne sais pas,je sais pas,peut-être,exactement,c'est ça,c'est bon,pas vraiment,pas encore"
    ),
    digits=_set("zéro un deux trois quatre cinq six sept huit neuf"),
)

SPANISH = Cues(
    fillers=_phrases("eh,em,este,pues,bueno,o sea,a ver,digamos,es que,entonces,mmm,cómo se dice,sabes"),
    dangling=_set(
        "el la los las un una unos unas de del al mi mis tu tus su sus nuestro nuestra y e o u pero porque que si "
        "cuando como aunque mientras donde en con para por sin sobre entre hasta desde hacia es son está están era "
        "muy más tan este esta estos estas cada cual quiero quisiera necesito"
    ),
    leaning=_set("a no se me te le lo nos yo ha he hay puede debe fue ser estar también ya todavía"),
    answers=_phrases(
        "sí,si,no,vale,claro,bueno,gracias,muchas gracias,no gracias,sí por favor,hola,buenos días,buenas tardes,"
        "buenas noches,adiós,hasta luego,no sé,no lo sé,tal vez,quizás,exacto,de acuerdo,por supuesto,perfecto"
    ),
    digits=_set("cero uno dos tres cuatro cinco seis siete ocho nueve"),
)

ITALIAN = Cues(
    fillers=_phrases("ehm,eh,mah,boh,beh,allora,cioè,diciamo,insomma,tipo,come si dice,sai,ecco,dunque,vediamo"),
    dangling=_set(
        "il lo la i gli le l un uno una di del dello della dei degli delle d al allo alla ai agli alle dal dalla nel "
        "nella nei sul sulla con per tra fra in da su e o ma perché che se quando come mentre anche se mio mia miei "
        "mie tuo tua suo sua nostro nostra è sono era ho ha molto più questo questa questi ogni quale vorrei voglio"
    ),
    leaning=_set("a non si mi ti ci vi può deve essere avere ancora già stato sto sta"),
    answers=_phrases(
        "sì,si,no,va bene,ok,certo,grazie,grazie mille,no grazie,sì grazie,ciao,buongiorno,buonasera,buonanotte,"
        "arrivederci,non lo so,non so,forse,esatto,d'accordo,perfetto,non ancora,non proprio"
    ),
    digits=_set("zero uno due tre quattro cinque sei sette otto nove"),
)

PORTUGUESE = Cues(
    fillers=_phrases("hum,é,eh,ahn,então,bom,tipo,sabe,quer dizer,ou seja,digamos,como se diz,deixa eu ver,aí"),
    dangling=_set(
        "o a os as um uma uns umas de do da dos das em no na nos nas ao aos à às pelo pela com para por sem sobre "
        "entre até e ou mas porque que se quando como embora enquanto meu minha meus minhas teu tua seu sua nosso "
        "nossa é são está era foi muito mais este esta esse essa cada qual quero queria preciso gostaria"
    ),
    leaning=_set("não me te lhe eu tem ter há pode deve ser estar também já ainda num numa"),
    answers=_phrases(
        "sim,não,tá,tá bom,está bem,ok,claro,obrigado,obrigada,muito obrigado,muito obrigada,não obrigado,"
        "não obrigada,olá,oi,bom dia,boa tarde,boa noite,tchau,adeus,não sei,talvez,exatamente,isso,com certeza,"
        "perfeito,ainda não"
    ),
    digits=_set("zero um dois três quatro cinco seis meia sete oito nove"),
)

HINDI = Cues(
    fillers=_phrases("उम्म,अम्म,हम्म,मतलब,तो,वो क्या,क्या कहते हैं,यानी,देखो,देखिए"),
    dangling=_set(
        "का के की को से में पर ने और या लेकिन मगर क्योंकि कि अगर जब तक जो जिस मेरा मेरी मेरे आपका आपकी आपके "
        "उसका उसकी उसके बहुत एक यह इस उस हर सिर्फ"
    ),
    answers=_phrases(
        "हाँ,हां,नहीं,जी,जी हाँ,जी हां,जी नहीं,ठीक है,ठीक,अच्छा,धन्यवाद,शुक्रिया,नमस्ते,अलविदा,पता नहीं,मुझे नहीं पता,शायद,बिल्कुल,सही"
    ),
    digits=_set("शून्य एक दो तीन चार पांच पाँच छह छः सात आठ नौ"),
    endings=_phrases("है,हैं,हूँ,हूं,था,थी,थे,गा,गी,गे,दीजिए,कीजिए,बताइए,चाहिए,दो,करो,बताओ"),
)

JAPANESE = Cues(
    fillers=_phrases("えっと,ええと,えーと,あの,あのー,その,そのー,なんか,まあ,うーん,うんと,なんていうか"),
    dangling=_set("を が は に へ で と も の や"),
    answers=_phrases(
        "はい,いいえ,うん,ううん,ええ,そうです,そうですね,違います,ありがとう,ありがとうございます,こんにちは,おはよう,"
        "おはようございます,こんばんは,さようなら,わかりません,分かりません,わかりました,分かりました,お願いします,大丈夫です,たぶん,もちろん"
    ),
    digits=_set("零 一 二 三 四 五 六 七 八 九"),
    endings=_phrases(
        "です,ます,ました,ません,でした,ですか,ますか,ましたか,ませんか,でしょうか,ください,かな,よね,ですね,だよ,だね"
    ),
)

CHINESE = Cues(
    fillers=_phrases("呃,嗯,那个,这个,就是,就是说,然后,怎么说,怎么说呢,我想想"),
    dangling=_set("和 跟 与 把 被 在 但 而 或 对 从 给 很 最 更 因 为 如 果 我 你 他 她 它 一 个"),
    answers=_phrases(
        "是,是的,对,对的,不,不是,不对,好,好的,好吧,可以,不可以,行,不行,没有,谢谢,谢谢你,不用,不用了,你好,您好,早上好,"
        "晚上好,晚安,再见,不知道,我不知道,也许,可能吧,当然,没问题"
    ),
    digits=_set("零 一 二 三 四 五 六 七 八 九"),
    endings=_phrases("吗,呢,吧,啊,什么,哪里,哪儿,怎么样,多少钱,谢谢,是谁,几点"),
)

CUES = {
    "en": ENGLISH,
    "de": GERMAN,
    "es": SPANISH,
    "fr": FRENCH,
    "hi": HINDI,
    "it": ITALIAN,
    "ja": JAPANESE,
    "pt": PORTUGUESE,
    "zh": CHINESE,
}
"""By the first subtag of BCP 47."""
