use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::{Bench, refused};

#[tokio::test]
async fn the_discovery_document_has_what_the_real_one_has() {
    let bench = Bench::start().await;
    let (origin, tenant) = (bench.emulator.authority(), bench.app().tenant_id());
    let url = |tenant: &str| format!("{origin}/{tenant}/v2.0/.well-known/openid-configuration");

    let answer = bench.client.get(&url(bench.app().domain()), &[]).await;

    let document = answer.json();
    for name in [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "device_authorization_endpoint",
        "end_session_endpoint",
        "response_types_supported",
        "response_modes_supported",
        "subject_types_supported",
        "scopes_supported",
        "id_token_signing_alg_values_supported",
        "token_endpoint_auth_methods_supported",
        "claims_supported",
        "tenant_region_scope",
        "cloud_instance_name",
        "cloud_graph_host_name",
        "msgraph_host",
        "rbac_url",
        "http_logout_supported",
        "frontchannel_logout_supported",
        "request_uri_parameter_supported",
    ] {
        assert!(
            document.get(name).is_some(),
            "{name} is missing: {document}"
        );
    }
    assert_eq!(document["issuer"], format!("{origin}/{tenant}/v2.0"));
    assert_eq!(
        document["token_endpoint"],
        format!("{origin}/{tenant}/oauth2/v2.0/token")
    );
    assert_eq!(document["request_uri_parameter_supported"], false);
    assert!(document.get("code_challenge_methods_supported").is_none());
    assert_eq!(answer.header("cache-control"), "max-age=86400, private");
    let common = bench.client.get(&url("common"), &[]).await.json();
    assert_eq!(common["issuer"], format!("{origin}/{{tenantid}}/v2.0"));
}

#[tokio::test]
async fn an_unknown_tenant_is_refused_otherwise_than_at_the_token_endpoint() {
    let bench = Bench::start().await;
    let origin = bench.emulator.authority();

    for path in [
        "v2.0/.well-known/openid-configuration",
        "discovery/v2.0/keys",
    ] {
        let answer = bench
            .client
            .get(&format!("{origin}/fabrikam.example/{path}"), &[])
            .await;
        assert_eq!(
            answer.refusal(),
            refused(400, "invalid_tenant", 90_002),
            "{path}"
        );
    }
}

#[tokio::test]
async fn tokens_verify_with_the_published_key() {
    let bench = Bench::start().await;
    let url = format!("{}/common/discovery/v2.0/keys", bench.emulator.authority());

    let token = bench.token().await;
    let key = bench.client.get(&url, &[]).await.json()["keys"][0].clone();

    assert!(
        key.get("alg").is_none() && key["x5t"] == key["kid"],
        "{key}"
    );
    let header = token.split('.').next().unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header["kid"], key["kid"]);
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let components = RsaPublicKeyComponents {
        n: part("n"),
        e: part("e"),
    };
    components
        .verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature)
        .unwrap();
}

#[tokio::test]
async fn instance_discovery_knows_this_host_and_the_public_clouds() {
    let bench = Bench::start().await;
    let origin = bench.emulator.authority();
    let ask = async |endpoint: &str| {
        let url = format!(
            "{origin}/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}"
        );
        bench.client.get(&url, &[]).await
    };

    let own = ask(&format!("{origin}/contoso.example/oauth2/v2.0/authorize"))
        .await
        .json();
    let public = ask("https://login.microsoftonline.com/common/oauth2/v2.0/authorize").await;
    let unknown = ask("https://login.example/common/oauth2/v2.0/authorize").await;

    let expected = format!("{origin}/contoso.example/v2.0/.well-known/openid-configuration");
    assert_eq!(own["tenant_discovery_endpoint"], expected);
    assert_eq!(own["metadata"][1]["preferred_cache"], "login.windows.net");
    assert_eq!(public.status, 200, "{public:?}");
    assert_eq!(unknown.refusal(), refused(400, "invalid_instance", 50_049));
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let bench = Bench::start().await;
    let origin = bench.emulator.authority();

    for path in [
        "/",
        "/contoso.example/oauth2/token",
        "/contoso.example/oauth2/v2.0/devicecode",
        "/x/y/z",
    ] {
        let answer = bench.client.get(&format!("{origin}{path}"), &[]).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(
            answer.json()["error"]["code"].is_string(),
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn an_error_leads_to_a_page_about_its_code() {
    let bench = Bench::start().await;
    let refusal = bench.with_secret("wrong").await.json();

    let page = bench
        .client
        .get(refusal["error_uri"].as_str().unwrap(), &[])
        .await;

    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("AADSTS7000215"), "{page:?}");
    let hostile = format!("{}/error?code=%3Cscript%3E", bench.emulator.authority());
    let page = bench.client.get(&hostile, &[]).await;
    assert!(!page.body.contains("<script>"), "{page:?}");
}
