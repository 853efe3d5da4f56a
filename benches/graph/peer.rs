//! Plain reqwest and serde_json: what one writes who needs these two calls and the list.

use keywheel_core::KeyId;
use keywheel_graph::{Application, NewPassword, PasswordCredential};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::server::Server;
use crate::typed::{CLIENT, TOKEN, password};

pub(crate) struct Peer {
    client: Client,
    origin: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Add<'a> {
    password_credential: &'a NewPassword,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    key_id: KeyId,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
    value: Vec<Application>,
}

impl Peer {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            client: Client::builder()
                .tls_certs_only([])
                .no_proxy()
                .timeout(std::time::Duration::from_secs(60))
                .build()
                .unwrap(),
            origin: server.origin(),
        }
    }

    pub(crate) async fn passwords(&self) {
        let base = format!("{}/v1.0/applications(appId='{CLIENT}')", self.origin);
        let new = password();
        let body = serde_json::to_vec(&Add {
            password_credential: &new,
        });
        let answer = self
            .post(format!("{base}/addPassword"), body.unwrap())
            .await;
        let added: PasswordCredential = serde_json::from_slice(&answer).unwrap();
        let key_id = added.key_id.unwrap();
        let body = serde_json::to_vec(&Remove { key_id }).unwrap();
        self.post(format!("{base}/removePassword"), body).await;
    }

    async fn post(&self, address: String, body: Vec<u8>) -> bytes::Bytes {
        let request = self
            .client
            .post(address)
            .bearer_auth(TOKEN)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.bytes().await.unwrap()
    }

    pub(crate) async fn listing(&self) -> usize {
        let select = "id,appId,displayName,signInAudience,passwordCredentials";
        let mut next = Some(format!(
            "{}/v1.0/applications?$select={select}",
            self.origin
        ));
        let mut count = 0;
        while let Some(address) = next {
            let request = self.client.get(address).bearer_auth(TOKEN);
            let answer = request.send().await.unwrap().error_for_status().unwrap();
            let page: Page = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            count += page.value.len();
            next = page.next;
        }
        count
    }
}
