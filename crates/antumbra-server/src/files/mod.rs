//! Sealed bodies and their manifests: what silos uploaded and reports are downloaded from.
