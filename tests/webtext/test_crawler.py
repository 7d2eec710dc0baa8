"""Shards are taken in and closed at different times without mixing their links."""

from pathlib import Path

import orjson

from fourhorn.webtext import crawler
from fourhorn.webtext.crawl import crawl
from fourhorn.webtext.links import links


def test_shards_taken_in_after_others_ended_keep_their_own_links(web, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(crawler, "ADMIT_BELOW", 3)  # so that shards end while later ones are taken in
    urls = [f"http://site{h}.example/page/{p}" for h in range(40) for p in range(1 + h % 5)]
    (tmp_path / "urls.txt").write_text("\n".join(urls) + "\n")
    links(tmp_path / "urls.txt", tmp_path / "links")
    manifest = crawl(
        tmp_path / "links",
        tmp_path / "pages",
        resolve=web.hosts,
        allow_private=("127.0.0.0/8",),
        delay_seconds=0.0,
        links_per_shard=6,
    )
    assert (manifest.n_in, manifest.n_kept) == (len(urls), len(urls))
    indexes = sorted((tmp_path / "pages").glob("*.index.jsonl"))
    assert len(indexes) > 5
    hosts_of = [{orjson.loads(line)["url"].split("/")[2] for line in index.open("rb")} for index in indexes]
    assert sum(map(len, hosts_of)) == 40  # all links of a host are in one shard
