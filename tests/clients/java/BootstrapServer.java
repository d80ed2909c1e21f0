import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

import org.eclipse.leshan.core.SecurityMode;
import org.eclipse.leshan.core.request.BootstrapDownlinkRequest;
import org.eclipse.leshan.core.request.BootstrapRequest;
import org.eclipse.leshan.core.request.Identity;
import org.eclipse.leshan.core.response.LwM2mResponse;
import org.eclipse.leshan.server.bootstrap.BootstrapConfig;
import org.eclipse.leshan.server.bootstrap.BootstrapFailureCause;
import org.eclipse.leshan.server.bootstrap.BootstrapSession;
import org.eclipse.leshan.server.bootstrap.BootstrapSessionListener;
import org.eclipse.leshan.server.californium.bootstrap.LeshanBootstrapServer;
import org.eclipse.leshan.server.californium.bootstrap.LeshanBootstrapServerBuilder;
import org.eclipse.leshan.server.security.BootstrapSecurityStore;
import org.eclipse.leshan.server.security.SecurityInfo;

/**
 * Leshan's bootstrap server, which gives one device its account. Leshan's demo of it is not published; its library comes with
 * the demo server. What the demo lets a person configure is configured here: the account, and what is deleted before.
 *
 *     java BootstrapServer name=sensor-7 identity=… key=…hex… uri=coaps://127.0.0.1:5684 mode=PSK \
 *         account_identity=…hex… account_secret=…hex… account_server=…hex… lifetime=600
 */
public final class BootstrapServer implements BootstrapSessionListener {
    public static void main(String[] words) {
        Map<String, String> told = new HashMap<>(Map.of("lifetime", "600", "account_server", ""));
        for (String word : words) {
            String[] pair = word.split("=", 2);
            told.put(pair[0], pair[1]);
        }
        LeshanBootstrapServerBuilder builder = new LeshanBootstrapServerBuilder();
        builder.setLocalAddress("127.0.0.1", 0);
        builder.setLocalSecureAddress("127.0.0.1", 0);
        SecurityInfo factory = SecurityInfo.newPreSharedKeyInfo(told.get("name"), told.get("identity"), hex(told, "key"));
        builder.setSecurityStore(new OneDevice(factory));
        BootstrapConfig config = config(told);
        builder.setConfigStore((endpoint, identity, session) -> endpoint.equals(told.get("name")) ? config : null);
        LeshanBootstrapServer server = builder.build();
        server.addListener(new BootstrapServer());
        server.start();
        say("listens on " + server.getSecuredAddress().getPort());
    }

    private static void say(String words) {
        System.out.println(words);
        System.out.flush();
    }

    private static byte[] hex(Map<String, String> told, String name) {
        return HexFormat.of().parseHex(told.get(name));
    }

    private static BootstrapConfig config(Map<String, String> told) {
        BootstrapConfig.ServerSecurity own = new BootstrapConfig.ServerSecurity();
        own.uri = "coaps://127.0.0.1";
        own.bootstrapServer = true;
        own.securityMode = SecurityMode.PSK;
        own.publicKeyOrId = told.get("identity").getBytes();
        own.secretKey = hex(told, "key");
        BootstrapConfig.ServerSecurity security = new BootstrapConfig.ServerSecurity();
        security.uri = told.get("uri");
        security.securityMode = SecurityMode.valueOf(told.get("mode"));
        security.publicKeyOrId = hex(told, "account_identity");
        security.secretKey = hex(told, "account_secret");
        security.serverPublicKey = hex(told, "account_server");
        security.serverId = 7;
        BootstrapConfig.ServerConfig server = new BootstrapConfig.ServerConfig();
        server.shortId = 7;
        server.lifetime = Integer.parseInt(told.get("lifetime"));
        server.defaultMinPeriod = 5;
        BootstrapConfig config = new BootstrapConfig();
        config.toDelete = List.of("/0", "/1");
        config.security.put(0, own);
        config.security.put(1, security);
        config.servers.put(0, server);
        return config;
    }

    /** The one device that is known here. */
    private static final class OneDevice implements BootstrapSecurityStore {
        private final SecurityInfo device;

        private OneDevice(SecurityInfo device) {
            this.device = device;
        }

        @Override
        public SecurityInfo getByIdentity(String identity) {
            return device.getIdentity().equals(identity) ? device : null;
        }

        @Override
        public Iterator<SecurityInfo> getAllByEndpoint(String endpoint) {
            return Arrays.asList(device).stream().filter(known -> known.getEndpoint().equals(endpoint)).iterator();
        }
    }

    @Override
    public void sessionInitiated(BootstrapRequest request, Identity identity) {
        say("asked by " + request.getEndpointName());
    }

    @Override
    public void unAuthorized(BootstrapRequest request, Identity identity) {
        say("refused " + identity);
    }

    @Override
    public void authorized(BootstrapSession session) {
        say("began");
    }

    @Override
    public void noConfig(BootstrapSession session) {
        say("has no account for " + session.getEndpoint());
    }

    @Override
    public void sendRequest(BootstrapSession session, BootstrapDownlinkRequest<? extends LwM2mResponse> request) {
        say("sends " + request.getClass().getSimpleName() + " " + request.getPath());
    }

    @Override
    public void onResponseSuccess(BootstrapSession session, BootstrapDownlinkRequest<? extends LwM2mResponse> request,
            LwM2mResponse response) {
        say("answered " + response.getCode());
    }

    @Override
    public void onResponseError(BootstrapSession session, BootstrapDownlinkRequest<? extends LwM2mResponse> request,
            LwM2mResponse response) {
        say("refused " + response);
    }

    @Override
    public void onRequestFailure(BootstrapSession session, BootstrapDownlinkRequest<? extends LwM2mResponse> request,
            Throwable cause) {
        say("failed " + cause);
    }

    @Override
    public void end(BootstrapSession session) {
        say("bootstrapped " + session.getEndpoint());
    }

    @Override
    public void failed(BootstrapSession session, BootstrapFailureCause cause) {
        say("failed " + cause);
    }
}
