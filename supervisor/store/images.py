"""Rows of images, their tags and their layers, and of volumes."""

from __future__ import annotations

from msgspec.structs import replace

from hawse.supervisor.core.errors import NotFound, UserError
from hawse.supervisor.core.model import Image, Volume, decoder, encode
from hawse.supervisor.store.session import Session

_IMAGE = decoder(Image)
_VOLUME = decoder(Volume)


class ImageRows(Session):
    def image(self, image_id: str) -> Image | None:
        row = self._one("SELECT json FROM images WHERE id = ?", image_id)
        return _IMAGE.decode(row[0]) if row else None

    def images(self) -> list[Image]:
        """All of them, oldest first."""
        return [_IMAGE.decode(j) for j in self._column("SELECT json FROM images ORDER BY created_at, rowid")]

    def image_by_tag(self, tag: str) -> Image | None:
        """`tag` is complete: name:tag."""
        row = self._one("SELECT i.json FROM image_tags t JOIN images i ON i.id = t.image_id WHERE t.tag = ?", tag)
        return _IMAGE.decode(row[0]) if row else None

    def image_by_prefix(self, prefix: str) -> Image | None:
        """The only image whose id begins with `prefix`, with or without "sha256:".  Raises UserError when it is several."""
        digits = prefix.removeprefix("sha256:")
        if not digits:
            return None
        low = f"sha256:{digits}"
        rows = self._all("SELECT json FROM images WHERE id BETWEEN ? AND ? LIMIT 2", low, low + "g")
        if len(rows) > 1:
            raise UserError(f"multiple IDs found with provided prefix: {prefix}")
        return _IMAGE.decode(rows[0][0]) if rows else None

    def image_tags(self) -> list[str]:
        return [str(tag) for tag in self._column("SELECT tag FROM image_tags ORDER BY tag")]

    def put_image(self, image: Image) -> None:
        """Insert or replace.  A tag that another image has moves here, as docker's tag and commit do."""
        for tag in image.tags:
            holder = self.image_by_tag(tag)
            if holder and holder.id != image.id:
                self._write(replace(holder, tags=tuple(t for t in holder.tags if t != tag)))
        self._write(image)
        self._do("DELETE FROM image_tags WHERE image_id = ?", image.id)
        for tag in image.tags:
            self._do("INSERT OR REPLACE INTO image_tags (tag, image_id) VALUES (?, ?)", tag, image.id)
        self._do("DELETE FROM image_layers WHERE image_id = ?", image.id)
        for layer in image.layers:
            self._do("INSERT OR IGNORE INTO image_layers (image_id, layer) VALUES (?, ?)", image.id, layer)

    def _write(self, image: Image) -> None:
        self._do(
            """INSERT INTO images (id, created_at, json) VALUES (?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, json = excluded.json""",
            image.id,
            image.created_at,
            encode(image).decode(),
        )

    def delete_image(self, image_id: str) -> None:
        """Delete it; its tags and layer references go with it; gone is success."""
        self._do("DELETE FROM images WHERE id = ?", image_id)

    def layers_in_use(self) -> set[str]:
        """Every layer that some image stands on."""
        return set(self._column("SELECT DISTINCT layer FROM image_layers"))

    def layer_users(self, layer: str) -> int:
        """Return how many images stand on it."""
        (count,) = self._one("SELECT COUNT(*) FROM image_layers WHERE layer = ?", layer)
        return int(count)

    # volumes

    def volume(self, name: str) -> Volume | None:
        row = self._one("SELECT json FROM volumes WHERE name = ?", name)
        return _VOLUME.decode(row[0]) if row else None

    def find_volume(self, name: str) -> Volume:
        """Raises NotFound in docker's words."""
        found = self.volume(name)
        if found is None:
            raise NotFound(f"get {name}: no such volume")
        return found

    def volumes(self) -> list[Volume]:
        return [_VOLUME.decode(j) for j in self._column("SELECT json FROM volumes ORDER BY name")]

    def put_volume(self, volume: Volume) -> None:
        self._do(
            "INSERT INTO volumes (name, json) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET json = excluded.json",
            volume.name,
            encode(volume).decode(),
        )

    def delete_volume(self, name: str) -> None:
        """Gone is success."""
        self._do("DELETE FROM volumes WHERE name = ?", name)
