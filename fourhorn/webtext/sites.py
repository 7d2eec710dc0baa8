"""Which sites a link may not lead to: Reddit itself, Wikipedia and its mirrors, media hosts, a user's own blocklist.

§2.1: links are outbound, and "we removed all Wikipedia documents from WebText since it is a common data source
for other datasets". Wikipedia is blocked in every language and under the domains that mirror or re-publish it.
Media hosts and file types hold pictures, sound, video or archives instead of an article. All lists are by
registered domain, so every subdomain is meant. `Sites.refusal` answers with the reason, or None for a link that
may be followed; the crawl asks again at every redirect.
"""

from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import iter_lines
from fourhorn.webtext.urls import registered_domain

_REDDIT = "reddit.com redd.it redditmedia.com redditstatic.com redditblog.com reddituploads.com"

# The encyclopedia, its short links and test wikis, and sites whose pages are its articles under another name.
_WIKIPEDIA = """
wikipedia.org wikipedia.com wikipedia.de wikipedia.fr wikipedia.it wikipedia.net w.wiki wmflabs.org wikimedia.org
wikiwand.com wiki2.org wikimili.com wikivisually.com wikizero.com wikizeroo.org wikiredia.com wikitrev.com
wiki30.com wiki-en.com wikibrief.org wikimd.com wikimd.org wikialpha.org wikiless.org wikipe.wiki wikipedikia.org
wikipediam.org wiki.edu.vn enwiki.org en-academic.com academic.ru enacademic.com deacademic.com esacademic.com
fracademic.com alchetron.com everipedia.org everybodywiki.com infogalactic.com justapedia.org dbpedia.org
deletionpedia.org worldheritage.org worldlibrary.org thereaderwiki.com thewikipost.org theinfolist.com
howlingpixel.com gpedia.com revolvy.com sensagent.com
"""

# No domain that the release's own list of WebText's top 1,000 names is here: those links were followed.
_MEDIA = """
imgur.com gfycat.com youtube.com youtu.be youtube-nocookie.com vimeo.com dailymotion.com liveleak.com streamable.com
twitch.tv vine.co giphy.com gifsound.com gifyoutube.com gifs.com imgflip.com memegenerator.net quickmeme.com qkme.me
livememe.com minus.com min.us imageshack.us imageshack.com photobucket.com tinypic.com postimage.org imgbb.com
sli.mg slimg.com i.reddituploads.com flickr.com staticflickr.com instagram.com instagr.am pinimg.com 500px.com
smugmug.com deviantart.com deviantart.net twitpic.com twimg.com yfrog.com lockerz.com prntscr.com gyazo.com puu.sh
cloudapp.net cl.ly snag.gy soundcloud.com snd.sc spotify.com bandcamp.com audioboom.com vocaroo.com tinysong.com
spoti.fi crackle.com break.com metacafe.com veoh.com blip.tv funnyordie.com collegehumor.com livestream.com
mixer.com hitbox.tv clippituser.tv gamerdvr.com gifv.net imgtc.com eroshare.com kym-cdn.com mega.nz mega.co.nz
rapidshare.com megaupload.com dropbox.com wetransfer.com
"""

_MEDIA_SUFFIXES = """
jpg jpeg jpe jfif png gif gifv bmp tif tiff webp svg ico psd raw heic avif mp4 m4v webm mov avi mkv wmv flv mpg mpeg ogv
3gp swf mp3 m4a ogg oga opus wav flac aac wma mid midi m3u m3u8 pls torrent zip rar 7z gz tgz bz2 xz tar iso dmg exe msi
apk jar deb rpm bin pdf ps eps djvu epub mobi doc docx ppt pptx xls xlsx csv ttf woff css js json xml rss atom
"""

REDDIT = frozenset(_REDDIT.split())
WIKIPEDIA = frozenset(_WIKIPEDIA.split())
MEDIA = frozenset(_MEDIA.split())
MEDIA_SUFFIXES = frozenset(_MEDIA_SUFFIXES.split())
REASONS = ("reddit", "wikipedia", "media", "blocked_domain")


class Sites:
    """The lists in force: the built-in ones and a user's blocklist of domains, one a line (`#` begins a comment)."""

    def __init__(self, blocklist: str | Path | None = None) -> None:
        self._reasons = dict.fromkeys(REDDIT, "reddit")
        self._reasons |= dict.fromkeys(MEDIA, "media") | dict.fromkeys(WIKIPEDIA, "wikipedia")
        if blocklist is not None:
            self._reasons |= dict.fromkeys(_read_blocklist(Path(blocklist)), "blocked_domain")

    def refusal(self, url: Any) -> str | None:
        """Why a parsed URL may not be followed: one of `REASONS`, or None."""
        host = url.hostname
        domain = registered_domain(host)
        tail = host
        while tail:  # every tail of the host down to its domain, for a list may name a subdomain too
            if reason := self._reasons.get(tail):
                return reason
            tail = "" if tail == domain else tail.partition(".")[2]
        return "media" if _is_media(url.pathname) else None


def _is_media(path: str) -> bool:
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    return dot >= 0 and name[dot + 1 :].lower() in MEDIA_SUFFIXES


def _read_blocklist(path: Path) -> list[str]:
    domains = []
    for number, line in enumerate(iter_lines(path), start=1):
        word = (
            line.decode("utf-8", "replace").partition("#")[0].strip().lower().removeprefix("*.").rstrip(".")
        )
        if not word:
            continue
        if "/" in word or " " in word or "." not in word:
            raise UserError(f"{path} line {number}: {word!r} is no domain. Write one a line, as example.com.")
        domains.append(word)
    return domains
