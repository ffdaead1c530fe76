//! Uploads that are found by name: protocols whose second call repeats the first call's key instead of an id that the
//! server made. They are uploads like any other, found by listing the store, so that every server that shares it finds them.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::Stream;

use super::id::WellFormed;
use super::{StagedUpload, Staging, UploadName};
use crate::error::Result;
use crate::model::{Principal, UploadId};

impl Staging {
    /// As [`put`](Self::put), to be found as `name`. Of several uploads of one name the last one counts.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_named(
        &self,
        owner: &Principal,
        name: &UploadName,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    ) -> Result<StagedUpload> {
        let id = WellFormed::named(name, self.now() + self.ttl);
        self.put_as(owner, id, schema, batches).await
    }

    /// The id of the upload with this name, unless there is none or it has expired.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`](crate::error::Error::StorageUnavailable) if the store fails.
    pub async fn find_named(&self, name: &UploadName) -> Result<Option<UploadId>> {
        let now = self.now();
        let mut found = self.all_named(name).await?;
        found.retain(|id| !id.is_expired(now));
        let last = found.into_iter().max_by_key(WellFormed::expires_at);
        Ok(last.map(|id| id.upload_id()))
    }

    /// Deletes the uploads with this name; frames that were opened stay as they are.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`](crate::error::Error::StorageUnavailable) if the store fails.
    pub async fn remove_named(&self, name: &UploadName) -> Result<()> {
        for id in self.all_named(name).await? {
            self.store.delete(&id).await?;
        }
        Ok(())
    }

    async fn all_named(&self, name: &UploadName) -> Result<Vec<WellFormed>> {
        let mut ids = self.store.ids().await?;
        ids.retain(|id| id.has_name(name));
        Ok(ids)
    }
}
